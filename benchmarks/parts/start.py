"""What `b9prov --help` and `--version` cost, and that they load nothing of SSH."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import Any

from benchmarks import ratios
from benchmarks.bench import B9PROV, Bench
from benchmarks.measure import command

EACH_RUN = 4  # they are short: several of each are one run
COMMANDS = {
    "help": [str(B9PROV), "--help"],
    "version": [str(B9PROV), "--version"],
    "python": [sys.executable, "-I", "-c", "pass"],
}
HEAVY = ("paramiko", "fabric", "jinja2", "yaml", "rich", "requests")
_LOADED = """
import json, sys
from provisioner.cli.main import program
try:
    program.main(args=["--help"], prog_name="b9prov")
except SystemExit:
    print(json.dumps([name for name in sys.argv[1:] if name in sys.modules]))
"""


def measure(bench: Bench) -> dict[str, Any]:
    """CPU milliseconds of each, Python's own start among them, and which heavy modules load."""
    folder = bench.room("start")
    cpu_ms: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(bench.runs * EACH_RUN):
        for name, argv in COMMANDS.items():
            cpu = command(argv, folder / f"{name}.log").cpu
            assert cpu is not None
            cpu_ms[name].append(round(cpu * 1000, 1))
    return {"cpu_ms": cpu_ms, "loaded": _loaded()}


def _loaded() -> list[str]:
    argv = [sys.executable, "-c", _LOADED, *HEAVY]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return list(json.loads(done.stdout.splitlines()[-1]))


def cpu_ms(part: dict[str, Any], name: str) -> float:
    """The median of one command."""
    return float(statistics.median(part["cpu_ms"][name]))


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    lines = ["", ratios.row("start, CPU ms", "min", "median", "max")]
    for name, title in (
        ("help", "b9prov --help"),
        ("version", "b9prov --version"),
        ("python", "python -c pass"),
    ):
        cells = (f"{ms:.0f}" for ms in ratios.spread(part["cpu_ms"][name]))
        lines.append(ratios.row(title, *cells))
    loaded = ", ".join(part["loaded"]) or "none"
    return [*lines, f"heavy modules that --help loads: {loaded}"]
