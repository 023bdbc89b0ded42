"""The services of this host as facts. Ansible's `service_facts`."""

from __future__ import annotations

import os
import re
import shutil
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS: dict[str, Argument] = {}
TIMEOUT = 120
BAD = ("not-found", "masked", "failed")
# `+ ssh`: an init script, and whether it says that its service runs
_SYSV = re.compile(r"^\s*\[ ([+-]) \]\s+(.+)$", re.MULTILINE)

Services = dict[str, dict[str, str]]


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return the services as the fact `services`."""
    services = _sysv()
    if os.path.isdir("/run/systemd/system"):
        services.update(_systemd())
    if not services:
        msg = "Failed to find any services. This can be due to privileges or some other "
        return {"changed": False, "skipped": True, "msg": msg + "configuration issue."}
    return {"changed": False, "ansible_facts": {"services": services}}


def _sysv() -> Services:
    if not shutil.which("service"):
        return {}
    said = process.run(["service", "--status-all"], timeout=TIMEOUT).stdout
    return {
        name: {"name": name, "state": "running" if sign == "+" else "stopped", "source": "sysv"}
        for sign, name in _SYSV.findall(said)
    }


def _systemd() -> Services:
    """Units that systemd has loaded, and with what is enabled those that it has not."""
    services: Services = {}
    for name, load, active, sub, *_ in _table("list-units", "--all", "--plain"):
        bad = next((word for word in BAD if word in (load, active, sub)), None)
        state = "running" if sub == "running" else "stopped"
        services[name] = _entry(name, state, bad or active)
    unloaded = {}
    for name, status, *_ in _table("list-unit-files", "--all"):
        if name not in services:
            unloaded[name] = status
        elif services[name]["status"] not in BAD:
            services[name]["status"] = status
    for name, state in _states(list(unloaded)).items():
        services[name] = _entry(name, state, unloaded[name])
    return services


def _entry(name: str, state: str, status: str) -> dict[str, str]:
    return {"name": name, "state": state, "status": status, "source": "systemd"}


def _table(*words: str) -> list[list[str]]:
    lines = _systemctl(*words, "--no-pager", "--no-legend", "--type=service").splitlines()
    return [line.split() for line in lines if ".service" in line]


def _states(names: list[str]) -> dict[str, str]:
    """The state of units that are not loaded; a template has none."""
    units = [name for name in names if "@." not in name]
    said = _systemctl("show", "--property=ActiveState", "--", *units) if units else ""
    found = [block.partition("=")[2].strip() for block in said.split("\n\n")]
    return {**dict.fromkeys(names, "unknown"), **dict(zip(units, found))}  # noqa: B905 (3.10)


def _systemctl(*words: str) -> str:
    outcome = process.run(["systemctl", *words], timeout=TIMEOUT)
    if outcome.rc != 0:
        raise ModuleFailed(f"systemctl {words[0]} failed: {outcome.said}", rc=outcome.rc)
    return outcome.stdout
