"""When the tunnel's program tries again, by its own shell functions and a clock that only counts.

Many workers that lose the gateway host in the same moment must not come back in the same moment.
"""

from __future__ import annotations

import itertools
import re
import subprocess
from functools import cache

import pytest

from provisioner import paths

WORKERS = 150
TRIES = 12  # about a minute
_LOOP = """
for worker in $(seq {workers}); do
  tries=0 clock=0 line=
  while [ "$tries" -lt {tries} ]; do
    line="$line $clock"
    took={took}
    tries=$((tries + 1))
    pause=$(($(spacing) - took))
    if [ "$pause" -lt 0 ]; then pause=0; fi
    clock=$((clock + took + pause))
  done
  echo $line
done
"""


@cache
def schedules(took: str) -> list[list[float]]:
    """For each worker the seconds at which it tries, where each try takes so many hundredths."""
    script = (paths.data_dir("templates") / "b9-tunnel.sh.j2").read_text()
    functions = re.findall(
        r"^(?:lasting|timeout)=\d+|^(?:spacing|within)\(\) \{.*?\}$", script, re.M | re.S
    )
    names = [each.partition("=" if "=" in each.partition("(")[0] else "(")[0] for each in functions]
    assert names == ["lasting", "timeout", "spacing", "within"]
    loop = _LOOP.format(workers=WORKERS, tries=TRIES, took=took)
    done = subprocess.run(
        ["sh", "-eu"],
        input="\n".join([*functions, loop]),
        text=True,
        capture_output=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return [[int(each) / 100 for each in line.split()] for line in done.stdout.splitlines()]


FAULTS = ("4", "$(within 5 2)00")
"""A host that refuses, and one that does not answer."""


@pytest.mark.parametrize("took", FAULTS)
def test_no_more_than_twelve_tries_a_minute(took: str) -> None:
    for times in schedules(took):
        later = times[2:]  # after the first quick ones
        assert all(b - a >= 4.9 for a, b in itertools.pairwise(later))


@pytest.mark.parametrize("took", FAULTS)
def test_many_workers_do_not_come_back_at_once(took: str) -> None:
    # the last try of each, a minute after they all lost it in the same moment
    last = sorted(times[-1] for times in schedules(took))
    in_a_second = max(sum(start <= each < start + 1 for each in last) for start in last)
    assert in_a_second <= WORKERS / 3, (in_a_second, last[0], last[-1])
