"""The units that `up` writes: how little each may do, and that its work is done all the same."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
from driver import Driver, wait_until
from looks import is_ready, k3s_answers, sh, wait_ready

from provisioner.lab import Host

PATIENCE = 30.0
MOST = 2.5  # of systemd's ten points of exposure
DOCUMENT = Path(__file__).parents[2] / "docs/security.md"
DIRECTORY = "/etc/systemd/system"
# runs the gateway's privileged containers, which get what it has (docs/security.md)
UNBOUND = {"k3s.service"}


def services(host: Host) -> set[str]:
    """The services of ours that a host has."""
    files = sh(host, f"grep -l '^# Written by b9prov' {DIRECTORY}/*.service").split()
    return {Path(file).name for file in files}


def exposures(host: Host) -> dict[str, float]:
    """How exposed systemd finds each of them as it is loaded."""
    units = sorted(services(host))
    instances = [unit.replace("@.", "@1.") for unit in units]
    shown = sh(host, f"systemd-analyze security --no-pager {' '.join(instances)}")
    found = re.findall(r"Overall exposure level for (\S+): ([0-9.]+)", shown)
    assert [unit for unit, _ in found] == instances
    return {unit: float(points) for unit, (_, points) in zip(units, found, strict=True)}


def documented() -> dict[str, float]:
    """The figures that docs/security.md gives."""
    rows = re.findall(r"^\| `(\S+\.service)` \| ([0-9.]+) \|", DOCUMENT.read_text(), re.MULTILINE)
    return {unit: float(points) for unit, points in rows}


def started(host: Host, unit: str) -> str:
    """Which start of the unit this is."""
    return sh(host, f"systemctl show -P InvocationID {unit}")


@pytest.fixture
def worker(ready: Driver) -> Host:
    """A worker that is ready."""
    return ready.lab.host("w1")


def test_no_unit_is_more_exposed_than_its_work_asks_for(ready: Driver, worker: Host) -> None:
    found = {**exposures(worker), **exposures(ready.lab.gateway)}
    assert {"b9-tunnel.service", "ollama.service", "b9prov-free@.service"} < set(found)
    assert {unit for unit, points in found.items() if points > MOST} == UNBOUND
    assert found == documented()


def test_all_units_start_anew_under_their_settings(ready: Driver, worker: Host) -> None:
    since = int(time.time())
    sh(worker, "systemctl restart ollama b9-tunnel b9agent")
    sh(ready.lab.gateway, "systemctl restart b9prov-addresses b9prov-free.socket")
    wait_ready(ready.lab, worker, since)
    wait_until(lambda: k3s_answers(ready.lab, worker), PATIENCE, "the way back")
    for host in (worker, ready.lab.gateway):
        assert sh(host, "systemctl list-units --failed --no-legend --plain") == ""


def test_root_does_what_the_agent_asks_for(worker: Host) -> None:
    before = started(worker, "b9-tunnel")
    sh(worker, "runuser -u b9agent -- touch /run/b9agent-asks/restart-b9-tunnel")
    wait_until(lambda: started(worker, "b9-tunnel") != before, PATIENCE, "a new tunnel")


def test_a_listener_is_freed(ready: Driver, worker: Host) -> None:
    """By a service that may do nothing but look at sockets and end processes."""
    key = "/etc/b9prov/tunnel"
    ssh = f"ssh -F none -i {key}/id_ed25519 -o UserKnownHostsFile={key}/known_hosts"
    gateway = f"b9tunnel@{ready.lab.gateway.address}"
    assert sh(worker, f"{ssh} {gateway} </dev/null") == "1 ended"


@pytest.mark.parametrize("folder", ["/usr/share/ollama/.ollama/models", "/home/shared/models"])
def test_ollama_writes_where_its_models_are_and_nowhere_else(
    ready: Driver, worker: Host, folder: str
) -> None:
    if folder.startswith("/home"):
        models = {"models_dir": folder}
        ready.up(
            "--limit",
            "w1",
            inventory=ready.inventory(lambda data: data["defaults"]["ollama"].update(models)),
        )
    inside = (
        "nsenter -t $(systemctl show -P MainPID ollama) -m -S $(id -u ollama) -G $(id -g ollama)"
    )
    assert sh(worker, f"{inside} sh -c 'echo 1 >{folder}/written; cat {folder}/written'") == "1"
    root = "nsenter -t $(systemctl show -P MainPID ollama) -m"
    for place in ("/etc", "/var/lib", "/usr/share", "/home"):
        assert worker.exec(["sh", "-c", f"{root} touch {place}/written"]).returncode, place


def test_a_service_that_another_unit_starts_is_loaded_anew(ready: Driver, worker: Host) -> None:
    """Older versions of it are replaced in what systemd knows, too."""
    asks = f"{DIRECTORY}/b9agent-asks.service"
    sh(worker, f"sed -i /^NoNewPrivileges/d {asks}; systemctl daemon-reload")
    assert sh(worker, "systemctl show -P NoNewPrivileges b9agent-asks") == "no"
    assert ready.up("--limit", "w1").changed()["w1"] >= 2
    assert sh(worker, "systemctl show -P NoNewPrivileges b9agent-asks") == "yes"
    assert ready.up("--limit", "w1").changed() == {"w1": 0, "gateway": 0}
    assert is_ready(ready.lab, worker)
