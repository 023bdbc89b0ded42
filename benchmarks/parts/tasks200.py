"""200 tasks with nothing to do, near and far: do their number and the distance multiply?"""

from __future__ import annotations

import statistics
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import yaml

from benchmarks import ratios
from benchmarks.bench import B9PROV, Bench, renew, say
from benchmarks.measure import command
from benchmarks.places import Places, reached

TASKS = 200
RTTS_MS = (0, 50)


def measure(bench: Bench) -> dict[str, Any]:
    """Seconds of runs with nothing to do, near and far by turns."""
    lab = bench.lab(1)
    hosts = lab.worker_hosts[:1]
    renew(lab, hosts)
    folder = bench.room("tasks200")
    playbook = folder / "playbook.yaml"
    playbook.write_text(yaml.safe_dump(_playbook(), sort_keys=False))
    seconds: dict[int, list[float]] = {rtt_ms: [] for rtt_ms in RTTS_MS}
    with ExitStack() as relays:
        places = {
            rtt_ms: relays.enter_context(
                reached(lab, hosts, rtt_ms / 1000, bench.room(f"tasks200/{rtt_ms}"))
            )
            for rtt_ms in RTTS_MS
        }
        _play(playbook, places[0])  # does all that there is to do
        for turn in range(bench.runs):
            for rtt_ms in RTTS_MS if turn % 2 == 0 else RTTS_MS[::-1]:
                taken = _play(playbook, places[rtt_ms])
                seconds[rtt_ms].append(round(taken, 3))
                say(f"{turn + 1}/{bench.runs} {TASKS} tasks, RTT {rtt_ms} ms: {taken:.2f} s")
    return {"tasks": TASKS, "rtt_ms": RTTS_MS[1], "near": seconds[0], "far": seconds[RTTS_MS[1]]}


def _play(playbook: Path, places: Places) -> float:
    argv = [str(B9PROV), "play", str(playbook), "-i", str(places.inventory)]
    return command(argv, places.folder / "b9prov.log").seconds


def _playbook() -> list[dict[str, Any]]:
    """Folders, files, lines and commands in turn, none of which changes anything but once."""
    kinds = (
        lambda number: {"file": {"path": f"/etc/many/{number}", "state": "directory"}},
        lambda number: {"copy": {"dest": f"/etc/many/{number}.conf", "content": f"{number}\n"}},
        lambda number: {"lineinfile": {"path": "/etc/hosts", "line": f"10.199.0.{number} many"}},
        lambda number: {"command": "true", "changed_when": False},
    )
    tasks: list[dict[str, Any]] = [{"file": {"path": "/etc/many", "state": "directory"}}]
    while len(tasks) < TASKS:
        number = len(tasks)
        tasks.append({"name": f"task {number}", **kinds[number % len(kinds)](number)})
    return [{"name": "Many tasks", "hosts": "all", "become": True, "tasks": tasks}]


def round_trips(part: dict[str, Any]) -> float:
    """How many round trips the distance has cost."""
    far, near = (statistics.median(part[key]) for key in ("far", "near"))
    return float((far - near) / (part["rtt_ms"] / 1000))


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    lines = ["", ratios.row(f"{part['tasks']} tasks, nothing to do", "min", "median", "max")]
    for title, key in (("RTT 0 ms", "near"), (f"RTT {part['rtt_ms']} ms", "far")):
        lines.append(ratios.row(title, *(f"{s:.2f} s" for s in ratios.spread(part[key]))))
    return [*lines, ratios.row("round trips more", "", f"{round_trips(part):.1f}")]
