"""The harness sees what differs, and gives hosts of both sides the same past."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from harness.comparison import PHASES, Step, differences
from harness.corpus import Entry, Expected
from harness.lanes import shared_out
from harness.sides import Ran

SAME = [Step(Ran(0, {"h1": {"ok": 1}}), {"h1": {"file /a": "-rw-r--r--\nx\n"}}) for _ in PHASES]


def second(step: Step) -> list[Step]:
    """As all, but for the second phase."""
    return [SAME[0], step, *SAME[2:]]


def test_equal_runs_do_not_differ() -> None:
    assert differences(SAME, list(SAME)) == []


@pytest.mark.parametrize(
    ("what", "changed"),
    [
        ("exit", replace(SAME[0], ran=Ran(1, SAME[0].ran.counts))),
        ("exit", replace(SAME[0], ran=Ran(None, SAME[0].ran.counts))),
        ("count ok", replace(SAME[0], ran=Ran(0, {"h1": {"ok": 2}}))),
        ("count ok", replace(SAME[0], ran=Ran(0, {}))),
        ("file /a", replace(SAME[0], states={"h1": {"file /a": "-rw-r--r--\nx"}})),
        ("file /a", replace(SAME[0], states={"h1": {}})),
    ],
)
def test_what_differs_is_seen(what: str, changed: Step) -> None:
    for found in (differences(SAME, second(changed)), differences(second(changed), SAME)):
        assert [(each.phase, each.what) for each in found] == [("real", what)]


def test_a_key_names_phase_and_what() -> None:
    [found] = differences(SAME, second(replace(SAME[0], states={"h1": {}})))
    assert found.fits(Expected("why", "file *"))
    assert found.fits(Expected("why", "file /a", "real*"))
    assert not found.fits(Expected("why", "file /a", "check*"))
    assert not found.fits(Expected("why", "count *"))


def test_lanes_share_the_work_and_fit() -> None:
    entries = [Entry(f"e{n}", Path(f"e{n}.yaml"), hosts=3 if n % 5 == 0 else 1) for n in range(20)]
    small, large = shared_out(entries, (1, 3))
    assert all(entry.hosts == 1 for entry in small)
    assert sorted(entry.name for entry in (*small, *large)) == sorted(e.name for e in entries)
    assert shared_out(entries[::-1], (1, 3)) == [small, large]
    assert abs(len(small) - len(large)) < len(entries) / 2
