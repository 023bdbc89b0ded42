"""How one run of a contender is measured, and how contenders take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PHASES = ("first run", "nothing to do")
Samples = dict[str, dict[str, list["Sample"]]]


@dataclass(frozen=True)
class Sample:
    """One run: wall seconds; and of the controller's processes the CPU seconds, and the resident
    MiB of the largest one."""

    seconds: float
    cpu: float | None = None
    mib: float | None = None


@dataclass(frozen=True)
class Contender:
    """`run` does the whole work once; `close` lets go of connections that outlive it."""

    name: str
    run: Callable[[], Sample]
    close: Callable[[], None] = lambda: None


# Run by a small Python: a process started by a large one counts that one's memory as its own.
_MEASURE = """
import json, os, subprocess, sys, time
started = time.monotonic()
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
_, status, usage = os.wait4(child.pid, 0)
seconds = time.monotonic() - started
cpu = usage.ru_utime + usage.ru_stime
with open(sys.argv[1], "w") as file:
    json.dump([os.waitstatus_to_exitcode(status), seconds, cpu, usage.ru_maxrss / 1024], file)
"""


def command(argv: list[str], log: Path, environment: dict[str, str] | None = None) -> Sample:
    """Run a command in the folder of its log; SystemExit with its last words when it fails."""
    figures = log.with_suffix(".json")
    with log.open("w") as output:
        subprocess.run(
            [sys.executable, "-I", "-S", "-c", _MEASURE, str(figures), *argv],
            stdout=output,
            cwd=log.parent,
            env={**os.environ, **(environment or {})},
            check=True,
        )
    code, *measured = json.loads(figures.read_text())
    if code:
        raise SystemExit(f"{argv[0]} exited {code}:\n{log.read_text()[-2000:]}")
    return Sample(*measured)


def timed(act: Callable[[], object]) -> Sample:
    """The wall time of a call in this process."""
    started = time.monotonic()
    act()
    return Sample(time.monotonic() - started)


def take_turns(
    contenders: list[Contender],
    runs: int,
    fresh: Callable[[], None],
    after_first: Callable[[str], None] = lambda name: None,
    say: Callable[[str], None] = lambda line: None,
) -> Samples:
    """Every contender gets `fresh` hosts, runs for the first time and then with nothing to do;
    then it is the next one's turn, and all that `runs` times.

    `after_first(name)` looks at what the first run has left.
    """
    samples: Samples = {each.name: {phase: [] for phase in PHASES} for each in contenders}
    for turn in range(runs):
        # who goes first changes from turn to turn
        start = turn % len(contenders)
        for contender in contenders[start:] + contenders[:start]:
            fresh()
            try:
                for phase in PHASES:
                    sample = contender.run()
                    samples[contender.name][phase].append(sample)
                    say(f"{turn + 1}/{runs} {contender.name}, {phase}: {sample.seconds:.2f} s")
                    if phase == PHASES[0]:
                        after_first(contender.name)
            finally:
                contender.close()
    return samples
