"""Measures b9prov against prepared scripts and against its peers, in a lab of its own.

    sudo .venv/bin/python -m benchmarks [--quick] [--part NAME]… [--runs N] [--no-peers]

A run of everything, or one with `--output`, leaves its figures in the repository; others are for
looking at.
"""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import peers, publish, summary
from benchmarks.bench import Bench, say, take_down
from benchmarks.parts import artifact, fleet, start, tasks24, tasks200, up

HERE = Path(__file__).parent
RESULTS, LOOKED_AT = HERE / "results", HERE.parent / ".cache" / "benchmarks"
README = HERE / "README.md"
# `up` comes first: its inventory has all workers that the lab has by then.
PARTS = {
    "up": up,
    "start": start,
    "tasks200": tasks200,
    "artifact": artifact,
    "fleet": fleet,
    "tasks24": tasks24,
}
RUNS = 5


def main() -> None:
    """Measure, print the tables, write the results."""
    options = _options()
    chosen = options.part or list(PARTS)
    complete = set(chosen) == set(PARTS) and not (options.quick or options.no_peers)
    folder = options.output or (RESULTS if complete else LOOKED_AT)
    _warn_if_busy()
    take_down()
    parts = {}
    try:
        with tempfile.TemporaryDirectory(prefix="b9-") as room:
            runs = options.runs or (1 if options.quick else RUNS)
            bench = Bench(runs, options.quick, not options.no_peers, Path(room))
            for name in (name for name in PARTS if name in chosen):
                parts[name] = PARTS[name].measure(bench)
                print("\n".join(PARTS[name].table(parts[name])), flush=True)
    finally:
        take_down()
    measured = {"machine": _machine(), "versions": _versions(), "parts": parts}
    result = publish.write(folder, measured)
    print("\n".join(summary.table(result)))
    if folder == RESULTS:
        publish.fill_readme(README, result)
    say(f"\nall figures: {os.path.relpath(folder)}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--part", action="append", choices=PARTS, help="only this part; may be repeated"
    )
    parser.add_argument("--runs", type=int, help=f"turns of each contender (by default {RUNS})")
    parser.add_argument("--quick", action="store_true", help="one run of less, in minutes")
    parser.add_argument("--no-peers", action="store_true", help="without Ansible and pyinfra")
    parser.add_argument(
        "--output",
        type=Path,
        help="folder for the figures; parts that another run left there stay",
    )
    options = parser.parse_args()
    if options.output:
        options.output = options.output.resolve()
    return options


def _warn_if_busy() -> None:
    load = os.getloadavg()[0]
    if load > 0.5:
        say(f"the machine is busy (load {load:.1f}): the figures will not be worth keeping")


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
        **peers.versions(),
    }


if __name__ == "__main__":
    main()
