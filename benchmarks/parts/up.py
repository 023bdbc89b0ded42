"""`b9prov up` on three workers, against scripts that do the same with all that is known."""

from __future__ import annotations

from typing import Any

from benchmarks import floor, ratios
from benchmarks.bench import Bench, b9prov, renew, say
from benchmarks.measure import take_turns
from benchmarks.places import near
from provisioner.paths import shipped_playbook

WORKERS = 3
FLOOR, OURS = "prepared scripts", "b9prov up"


def measure(bench: Bench) -> dict[str, Any]:
    """Seconds of first runs and of runs with nothing to do."""
    lab = bench.lab(WORKERS)
    hosts = lab.hosts
    folder = bench.room("up")
    renew(lab, hosts)
    scripts = floor.scripts_of(shipped_playbook("up", None), lab.inventory_path, lab)
    lowest = floor.over_ssh(scripts, near(lab, hosts, folder), FLOOR)
    ours = b9prov(OURS, folder, "up", str(lab.inventory_path))
    samples = take_turns([lowest, ours], bench.runs, lambda: renew(lab, hosts), say=say)
    return {"workers": WORKERS, "runs": bench.runs, "phases": ratios.figures(samples)}


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    title = f"up, {part['workers']} workers"
    return ratios.table(title, part["phases"], FLOOR)
