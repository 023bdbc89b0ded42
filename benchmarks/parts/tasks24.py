"""24 tasks like those of provisioning, against the floor and the peers, near and far."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import floor, peers, ratios
from benchmarks.bench import Bench, b9prov, renew, say
from benchmarks.left import Same
from benchmarks.measure import Contender, take_turns
from benchmarks.places import Places, near, reached
from benchmarks.prepared import Scripts
from provisioner.lab import Lab

HERE = Path(__file__).parents[1]
PLAYBOOK, DEPLOY = HERE / "tasks24.yaml", HERE / "tasks24_pyinfra.py"
HOSTS, FEW_HOSTS = (1, 4, 8), (1, 4)
RTTS_MS = (0, 50)
FLOOR, FABRIC, OURS = floor.SSH, floor.FABRIC, "b9prov"


def measure(bench: Bench) -> dict[str, Any]:
    """Seconds of every contender, for each number of hosts and each round-trip time."""
    counts = FEW_HOSTS if bench.quick else HOSTS
    lab = bench.lab(max(counts))
    hosts = lab.worker_hosts[: max(counts)]
    if bench.peers:
        peers.install()
    renew(lab, hosts)
    inventory = near(lab, hosts, bench.room("tasks24/recorded")).inventory
    scripts = floor.scripts_of(PLAYBOOK, inventory, lab)
    same = Same()
    settings = []
    for count in counts:
        for rtt_ms in RTTS_MS:
            say(f"24 tasks: {count} hosts, RTT {rtt_ms} ms")
            settings.append(_setting(bench, lab, count, rtt_ms, scripts, same))
    return {"runs": bench.runs, "settings": settings}


def _setting(
    bench: Bench, lab: Lab, count: int, rtt_ms: int, scripts: Scripts, same: Same
) -> dict[str, Any]:
    hosts = lab.worker_hosts[:count]
    folder = bench.room(f"tasks24/{count}-{rtt_ms}")
    with reached(lab, hosts, rtt_ms / 1000, folder) as places:
        samples = take_turns(
            contenders(places, scripts, _peers(bench, rtt_ms)),
            bench.runs,
            fresh=lambda: renew(lab, hosts),
            after_first=lambda name: same.check(name, hosts),
            say=say,
        )
    return {"hosts": count, "rtt_ms": rtt_ms, "phases": ratios.figures(samples)}


def _peers(bench: Bench, rtt_ms: int) -> list[Callable[[Places], Contender]]:
    """Ansible takes minutes over a distance: a quick run leaves it out there."""
    if not bench.peers:
        return []
    chosen: list[Callable[[Places], Contender]] = [lambda places: peers.pyinfra(places, DEPLOY)]
    if not (bench.quick and rtt_ms):
        chosen.append(lambda places: peers.mitogen(places, PLAYBOOK))
        chosen.append(lambda places: peers.ansible(places, PLAYBOOK))
    return chosen


def contenders(
    places: Places, scripts: Scripts, others: list[Callable[[Places], Contender]]
) -> list[Contender]:
    """All that are compared, the floor first."""
    ours = b9prov(OURS, places.folder, "play", str(PLAYBOOK), "-i", str(places.inventory))
    lowest = [floor.over_ssh(scripts, places), floor.over_fabric(scripts, places)]
    return [*lowest, ours, *(make(places) for make in others)]


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    lines = []
    for setting in part["settings"]:
        title = f"24 tasks, hosts: {setting['hosts']}, RTT {setting['rtt_ms']} ms"
        lines += ratios.table(title, setting["phases"], FLOOR)
    return lines
