"""Looks, before anything is changed, whether a host fits; all that is wrong is told at once.

`distributions` maps a name to its least version ("Ubuntu": "20.04"); `ports` is a list of
`{port, units, processes, address}` where units and processes name who may hold it; `reach`
lists host:port, `resolve` names, `min_disk_mib` maps a path to MiB. `k3s` says what k3s is to be,
see k3schecks; what an upgrade of it must know is in the result, under that name.
"""

from __future__ import annotations

import functools
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from provisioner.remote import aptlock, facts, k3schecks, sockets
from provisioner.remote.arguments import Argument, BadArgument
from provisioner.remote.checks import Checks, version
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "distributions": Argument("dict"),
    "os_families": Argument("list"),
    "architectures": Argument("list"),
    "systemd": Argument("bool", default=False),
    "commands": Argument("list"),
    "min_disk_mib": Argument("dict"),
    "min_memory_mib": Argument("int"),
    "ports": Argument("list"),
    "reach": Argument("list"),
    "resolve": Argument("list"),
    "timeout": Argument("float", default=5.0),
    "controller_time": Argument("float"),
    "max_skew_s": Argument("float", default=60.0),
    "apt_lock_timeout": Argument("float"),
    "warn_only": Argument("list"),
    "k3s": Argument("dict"),
}

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make every check that was asked for."""
    checks = Checks()
    known = facts.gather()
    # the network is asked meanwhile
    network = _Together(_reach_jobs(arguments), arguments["timeout"])
    _clock(arguments, checks)
    _platform(arguments, known, checks)
    _programs(arguments, known, checks)
    _resources(arguments, known, checks)
    _ports(arguments, checks)
    k3s = _k3s(arguments, checks)
    network.collect(checks)
    _apt(arguments, checks)
    checks.soften(arguments["warn_only"] or [])
    return checks.finish("preflight", k3s=k3s)


def _k3s(arguments: dict[str, Any], checks: Checks) -> dict[str, Any]:
    if not arguments["k3s"]:
        return {}
    try:
        return k3schecks.look(arguments["k3s"], checks)
    except BadArgument as error:
        raise ModuleFailed(f"k3s: {error}") from None


def _clock(arguments: dict[str, Any], checks: Checks) -> None:
    if arguments["controller_time"] is None:
        return
    skew = time.time() - arguments["controller_time"]
    checks.add(
        "clock",
        abs(skew) <= arguments["max_skew_s"],
        f"{skew:+.0f} s against the controller",
        f"at most {arguments['max_skew_s']:.0f} s",
        "set the clock: timedatectl set-ntp true",
    )


def _platform(arguments: dict[str, Any], known: dict[str, Any], checks: Checks) -> None:
    name = str(known.get("ansible_distribution", "unknown"))
    release = str(known.get("ansible_distribution_version", ""))
    least = {str(k).lower(): str(v) for k, v in (arguments["distributions"] or {}).items()}
    families = [str(f).lower() for f in arguments["os_families"] or []]
    found = f"{name} {release}".strip()
    wanted = [f"{k} {v}+" for k, v in (arguments["distributions"] or {}).items()]
    if name.lower() in least:
        ok = version(release) >= version(least[name.lower()])
        checks.add("system", ok, found, " or ".join(wanted), "use a newer release")
    elif least or families:
        wanted += [f"the {f} family" for f in arguments["os_families"] or []]
        ok = str(known.get("ansible_os_family", "")).lower() in families
        checks.add("system", ok, found, " or ".join(wanted), "use one of these systems")
    if arguments["architectures"]:
        machine = os.uname().machine
        allowed = [MACHINES.get(a, a) for a in arguments["architectures"]]
        fix = "there is no build for this processor"
        checks.add("architecture", machine in allowed, machine, " or ".join(allowed), fix)


def _programs(arguments: dict[str, Any], known: dict[str, Any], checks: Checks) -> None:
    if arguments["systemd"]:
        manager = known.get("ansible_service_mgr", "unknown")
        fix = "boot the host with systemd as its init"
        checks.add("init", manager == "systemd", manager, "systemd", fix)
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin:/usr/sbin:/sbin"])
    for name in arguments["commands"] or []:
        where = shutil.which(name, path=path)
        fix = f"install the package that has {name}"
        checks.add(f"command {name}", where is not None, where or "nothing", name, fix)


def _resources(arguments: dict[str, Any], known: dict[str, Any], checks: Checks) -> None:
    for path, needed in (arguments["min_disk_mib"] or {}).items():
        place = Path(path)
        while not place.exists() and place != place.parent:
            place = place.parent
        free = shutil.disk_usage(place).free >> 20
        fix = f"free {int(needed) - free} MiB on the file system of {place}"
        wanted = f"{needed} MiB free"
        checks.add(f"disk {path}", free >= int(needed), f"{free} MiB free", wanted, fix)
    if arguments["min_memory_mib"]:
        total, needed = known.get("ansible_memtotal_mb", 0), arguments["min_memory_mib"]
        fix = "use a larger machine"
        checks.add("memory", total >= needed, f"{total} MiB", f"{needed} MiB", fix)


def _ports(arguments: dict[str, Any], checks: Checks) -> None:
    if not arguments["ports"]:
        return
    listening = sockets.listeners()
    entries = [e if isinstance(e, dict) else {"port": e} for e in arguments["ports"]]
    numbers = {_port_number(entry) for entry in entries}
    busy = {s.inode: s for s in listening if s.port in numbers}
    holders = sockets.owners(busy)
    for entry in entries:
        port = _port_number(entry)
        others = []
        for inode, found in busy.items():
            clash = found.port == port and _overlap(found.address, entry.get("address"))
            holder = holders.get(inode)
            if clash and not (holder and _is_ours(holder, entry)):
                others.append(str(holder) if holder else "an unknown process")
        fix = "stop it or have it listen elsewhere"
        found_text = ", ".join(sorted(set(others))) or "free or ours"
        checks.add(f"port {port}", not others, found_text, "free", fix)


def _port_number(entry: dict[str, Any]) -> int:
    try:
        return int(entry["port"])
    except (KeyError, TypeError, ValueError):
        raise ModuleFailed(f"ports: each entry needs a port number: {entry!r}") from None


def _overlap(address: str, wanted: str | None) -> bool:
    anywhere = ("0.0.0.0", "::")  # noqa: S104 — compared, not bound
    return wanted is None or address in anywhere or wanted in anywhere or address == wanted


def _is_ours(holder: sockets.Owner, entry: dict[str, Any]) -> bool:
    return holder.unit in _names(entry, "unit") or holder.name in _names(entry, "process")


def _names(entry: dict[str, Any], key: str) -> list[str]:
    """`unit: x`, `units: [x, y]`; the same for processes."""
    value = entry.get(key) or entry.get(f"{key}s") or entry.get(f"{key}es") or []
    return [value] if isinstance(value, str) else [str(v) for v in value]


Job = tuple[str, str, str, Callable[[], str]]
"""A check's name, what is wanted, the fix, and a function that says what was found."""


def _reach_jobs(arguments: dict[str, Any]) -> list[Job]:
    jobs: list[Job] = []
    timeout = arguments["timeout"]
    for name in arguments["resolve"] or []:
        fix = "mend name resolution: resolvectl status, /etc/resolv.conf"
        jobs.append((f"resolve {name}", "an address", fix, functools.partial(_resolve, name)))
    for target in arguments["reach"] or []:
        fix = f"let outgoing TCP connections to {target} through, and see that it runs"
        jobs.append(
            (f"reach {target}", "a connection", fix, functools.partial(_connect, target, timeout))
        )
    return jobs


def _resolve(name: str) -> str:
    return str(socket.getaddrinfo(name, None)[0][4][0])


def _connect(target: str, timeout: float) -> str:
    host, _, port = target.rpartition(":")
    with socket.create_connection((host.strip("[]"), int(port)), timeout=timeout):
        return "a connection"


class _Together:
    """Asks many hosts at the same time; an answer that is late is a failure, not a wait."""

    def __init__(self, jobs: Sequence[Job], timeout: float) -> None:
        self.jobs = jobs
        self.timeout = timeout
        # a resolver that hangs can't be interrupted, only left behind
        self.deadline = time.monotonic() + timeout + 1
        self.answers: list[tuple[bool, str] | None] = [None] * len(jobs)
        self.threads = [
            threading.Thread(target=self._ask, args=(index,), daemon=True)
            for index in range(len(jobs))
        ]
        for thread in self.threads:
            thread.start()

    def _ask(self, index: int) -> None:
        try:
            self.answers[index] = (True, self.jobs[index][3]())
        except (OSError, ValueError) as error:
            self.answers[index] = (False, str(error))

    def collect(self, checks: Checks) -> None:
        for thread in self.threads:
            thread.join(max(0.0, self.deadline - time.monotonic()))
        for index, (name, wanted, fix, _) in enumerate(self.jobs):
            answer = self.answers[index] or (False, f"no answer in {self.timeout:.0f} s")
            checks.add(name, answer[0], answer[1], wanted, fix)


def _apt(arguments: dict[str, Any], checks: Checks) -> None:
    if arguments["apt_lock_timeout"] is None or not shutil.which("apt-get"):
        return
    held = aptlock.wait_until_free(arguments["apt_lock_timeout"])
    wanted = f"free within {arguments['apt_lock_timeout']:.0f} s"
    fix = "wait for it to end, or raise the time-out"
    checks.add("apt lock", held is None, str(held) if held else "free", wanted, fix)
