"""Measures b9prov against prepared scripts and against its peers, in a lab of its own.

    sudo .venv/bin/python benchmarks/run.py [--runs N] [--part up|tasks24] [--no-peers]

Takes turns: each contender gets hosts that are reset, runs once for the first time and once with
nothing to do; then it is the next one's turn, and all that N times. Ratios are medians of pairs of
the same turn, so that a machine that is busy for a while weighs on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from contenders import HERE, Contender, Sample, b9prov, floor, peer_versions, peers
from floor import Floor
from prepared import prepare
from recorder import record

from provisioner.cli.lab import boot
from provisioner.cli.session import shipped_playbook
from provisioner.lab import Lab, lab_down

LAB = "benchmark"
RESULT = HERE / "results" / "up.json"
PHASES = ("first run", "nothing to do")
Samples = dict[str, dict[str, list[Sample]]]


def main() -> None:
    """Measure, print the tables, write the result."""
    options = _options()
    lab = boot(LAB, options.workers, real=False)
    try:
        with tempfile.TemporaryDirectory(prefix="b9-") as folder:
            parts = _parts(lab, Path(folder), options)
            result = {"machine": _machine(), "workers": options.workers, "runs": options.runs}
            result["versions"] = _versions()
            for name, contenders in parts.items():
                figures = _figures(_measure(lab, contenders, options.runs))
                result[name] = figures
                print(_table(name, figures), flush=True)
    finally:
        lab_down(LAB, progress=_say)
    options.output.write_text(json.dumps(result, indent=2) + "\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help="turns of each contender")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--part", choices=("up", "tasks24"), help="only this part")
    parser.add_argument("--no-peers", action="store_true", help="without ansible-core and pyinfra")
    parser.add_argument("--output", type=Path, default=RESULT, help="where the figures go")
    return parser.parse_args()


def _parts(lab: Lab, folder: Path, options: argparse.Namespace) -> dict[str, list[Contender]]:
    """What is compared with what; the floor comes first."""
    parts: dict[str, list[Contender]] = {}
    inventory = lab.inventory_path
    if options.part != "tasks24":
        built = _floor(lab, shipped_playbook("up", None), folder)
        parts["up"] = [floor(built), b9prov(folder, "up", str(inventory))]
    if options.part != "up":
        playbook = HERE / "tasks24.yaml"
        built = _floor(lab, playbook, folder)
        ours = b9prov(folder, "play", str(playbook), "-i", str(inventory))
        others = [] if options.no_peers else peers(lab, folder)
        parts["tasks24"] = [floor(built), ours, *others]
    return parts


def _floor(lab: Lab, playbook: Path, folder: Path) -> Floor:
    """The floor of a playbook, from a run of it on fresh hosts."""
    _reset(lab)
    tape = record(playbook, lab.inventory_path)
    scripts = prepare(tape, lambda host, path: lab.host(host).exec(["cat", path]).stdout)
    return Floor(lab, scripts, folder)


def _reset(lab: Lab) -> None:
    """New hosts, done with booting."""
    lab.reset_all()
    for host in lab.hosts:
        host.exec(["systemctl", "is-system-running", "--wait"])


def _measure(lab: Lab, contenders: list[Contender], runs: int) -> Samples:
    samples: Samples = {each.name: {phase: [] for phase in PHASES} for each in contenders}
    for turn in range(runs):
        # who goes first changes from turn to turn
        start = turn % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            _reset(lab)
            for phase in PHASES:
                sample = contender.run()
                samples[contender.name][phase].append(sample)
                _say(f"{turn + 1}/{runs} {contender.name}, {phase}: {sample.seconds:.2f} s")
            contender.close()
    return samples


def _figures(samples: Samples) -> dict[str, Any]:
    """By phase and contender: seconds of every turn, ratio to the floor, memory."""
    lowest = next(iter(samples.values()))
    return {
        phase: {
            name: {
                "seconds": [round(sample.seconds, 3) for sample in taken[phase]],
                "ratio": round(_ratio(taken[phase], lowest[phase]), 2),
                "mib": _mib(taken[phase]),
            }
            for name, taken in samples.items()
        }
        for phase in PHASES
    }


def _ratio(taken: list[Sample], lowest: list[Sample]) -> float:
    pairs = zip(taken, lowest, strict=True)
    return statistics.median(ours.seconds / theirs.seconds for ours, theirs in pairs)


def _mib(taken: list[Sample]) -> int | None:
    sizes = [sample.mib for sample in taken if sample.mib is not None]
    return round(max(sizes)) if sizes else None


def _table(part: str, figures: dict[str, Any]) -> str:
    lines = [f"\n{part:38}{'min':>8}{'median':>8}{'max':>8}{'ratio':>8}{'RSS MiB':>9}"]
    for phase, contenders in figures.items():
        for name, row in contenders.items():
            seconds = row["seconds"]
            cells = (min(seconds), statistics.median(seconds), max(seconds), row["ratio"])
            figures_text = "".join(f"{cell:8.2f}" for cell in cells)
            lines.append(f"{name + ', ' + phase:38}{figures_text}{row['mib'] or '-':>9}")
    return "\n".join(lines)


def _machine() -> dict[str, Any]:
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(pages / 2**30),
        "architecture": platform.machine(),
    }


def _versions() -> dict[str, str]:
    ssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True).stderr
    ours = {name: version(name) for name in ("b9prov", "fabric", "paramiko", "jinja2")}
    return {
        "python": platform.python_version(),
        "openssh": ssh.split(",")[0].split()[0].removeprefix("OpenSSH_"),
        **ours,
        **peer_versions(),
    }


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
