"""Faults, made in a lab on purpose, and how long its workers take to be well again."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import requests

from provisioner.lab.gateway_host import API_PORT
from provisioner.lab.lab import Lab
from provisioner.lab.machine import LabError

TUNNEL_UNIT = "b9-tunnel"
_JOB_SECONDS = 60.0
_TUNNEL_SECONDS = 60.0
_READY_SECONDS = 180.0
_POLL = 0.2
_TIMEOUT = 10.0
# Asks the worker's Kubernetes through the tunnel until it answers, whatever it answers.
_REACH = """\
import http.client, ssl, sys, time
give_up = time.monotonic() + float(sys.argv[2])
context = ssl._create_unverified_context()
while time.monotonic() < give_up:
    try:
        asked = http.client.HTTPSConnection(sys.argv[1], 6443, timeout=2, context=context)
        asked.request("GET", "/version")
        asked.getresponse().read()
        sys.exit(0)
    except (OSError, http.client.HTTPException):
        time.sleep(0.05)
sys.exit(1)
"""

Json = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True)
class Machine:
    """A machine as the reference gateway knows it; `job` is the one it made on the worker."""

    id: str
    address: str
    job: str


def admitted_jobs(lab: Lab, ids: list[str]) -> dict[str, Machine]:
    """The machines by id, once the gateway has made a Job on each of them through its tunnel."""

    def found() -> dict[str, Machine] | None:
        machines = {machine["machine_id"]: machine for machine in _dialled(lab)}
        chosen = {
            name: Machine(name, machines[name]["hostname"], machines[name]["job"])
            for name in ids
            if name in machines and machines[name]["job"]
        }
        return chosen if len(chosen) == len(ids) else None

    return _wait(found, _JOB_SECONDS, lambda: f"no Job on every worker: {_dialled(lab)}")


def kill_tunnel(lab: Lab, worker: str, address: str) -> float:
    """Kill the worker's tunnel; seconds until the gateway host reaches the worker again."""
    host, started = lab.host(worker), time.monotonic()
    killed = host.exec(["systemctl", "kill", "--signal=KILL", TUNNEL_UNIT])
    if killed.returncode != 0:
        raise LabError(f"{worker} has no tunnel to kill: {killed.stderr.strip()}")
    _reach(lab, worker, address, _TUNNEL_SECONDS)
    return time.monotonic() - started


def reboot(lab: Lab, worker: str, machine: Machine) -> float:
    """Reboot the worker; seconds until its agent keeps alive and its tunnel works again."""
    host, started = lab.host(worker), time.monotonic()
    host.reboot()
    leader = host.leader()
    booted = int(time.time() - leader.seconds()) if leader else 0

    def ready() -> bool:
        shown = _listed(lab).get(machine.id, {})
        return shown.get("status") == "ready" and int(shown["lastKeepalive"] or 0) >= booted

    _wait(ready, _READY_SECONDS, lambda: f"{worker} is not ready again: {_listed(lab)}")
    _reach(lab, worker, machine.address, _TUNNEL_SECONDS)
    return time.monotonic() - started


def _reach(lab: Lab, worker: str, address: str, seconds: float) -> None:
    """Wait, on the gateway host, for an answer of the worker's Kubernetes."""
    argv = ["python3", "-c", _REACH, address, str(seconds)]
    if lab.gateway.exec(argv, timeout=seconds + _TIMEOUT).returncode != 0:
        raise LabError(f"{worker} does not answer at {address}:6443 after {seconds:.0f} s")


def _dialled(lab: Lab) -> list[Json]:
    machines: list[Json] = _ask(lab, "/reference/machines")["machines"]
    return machines


def _listed(lab: Lab) -> dict[str, Json]:
    machines = _ask(lab, f"/api/v1/gateway/machines?poolName={lab.pool}")["machines"]
    return {machine["id"]: machine for machine in machines}


def _ask(lab: Lab, path: str) -> Json:
    url = f"http://{lab.gateway.address}:{API_PORT}{path}"
    token = lab.admin_token_path.read_text().strip()
    headers = {"Authorization": f"Bearer {token}"}
    try:
        answer = requests.get(url, headers=headers, timeout=_TIMEOUT)
        answer.raise_for_status()
        content: Json = answer.json()
    except requests.RequestException as error:
        raise LabError(f"the reference gateway does not answer: {error}") from None
    return content


def _wait(found: Callable[[], T | None], seconds: float, otherwise: Callable[[], str]) -> T:
    give_up = time.monotonic() + seconds
    while not (result := found()):
        if time.monotonic() > give_up:
            raise LabError(f"after {seconds:.0f} s, {otherwise()}")
        time.sleep(_POLL)
    return result
