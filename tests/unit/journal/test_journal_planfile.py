"""Plans as files, and what is not as planned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.journal.planfile import (
    HostPlan,
    Plan,
    Prediction,
    Seal,
    differences,
    load_plan,
    save_plan,
)

TASK = Prediction("Play", "write it", "p.yaml:3", "changed", "a", "12ab")
HOST = HostPlan({"machine_id": "1", "kernel": "6.1"}, [TASK, replace(TASK, item="b")])
PLAN = Plan("0.1.0", 1.5, {"pool": None}, "00ff", {"playbook": "x"}, {"w1": HOST})


def test_a_plan_is_what_was_saved(tmp_path: Path) -> None:
    path = tmp_path / "p.plan"
    save_plan(path, PLAN)
    assert load_plan(path) == PLAN
    assert path.stat().st_mode & 0o777 == 0o600
    assert PLAN.changes == 2


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is no plan"),
        ("[]", "is no plan"),
        ('{"schema": 1}', "is no plan"),
        ('{"b9prov_plan": 2}', "version 2"),
        ('{"b9prov_plan": 1}', "damaged"),
    ],
)
def test_other_files_are_no_plans(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "p.plan"
    path.write_text(content)
    with pytest.raises(BadInput, match=said):
        load_plan(path)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No such file"):
        load_plan(tmp_path / "none")


def test_a_field_too_many_is_damage(tmp_path: Path) -> None:
    path = tmp_path / "p.plan"
    save_plan(path, PLAN)
    content = json.loads(path.read_text())
    content["hosts"]["w1"]["tasks"][0]["strange"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(BadInput, match="damaged"):
        load_plan(path)


def test_what_is_as_planned() -> None:
    assert differences(HOST, HOST) == []


def test_what_is_not_as_planned() -> None:
    def told(facts: dict[str, str] | None = None, *tasks: Prediction) -> str:
        return "; ".join(differences(HOST, HostPlan(facts or HOST.facts, list(tasks))))

    second = HOST.tasks[1]
    assert "kernel is '6.2' and was '6.1'" in told(
        {"machine_id": "1", "kernel": "6.2"}, *HOST.tasks
    )
    assert "planned was 'changed'" in told(None, replace(TASK, status="ok"), second)
    assert "something else" in told(None, replace(TASK, diff="99"), second)
    assert "comes where" in told(None, second, TASK)
    assert "there are 1 tasks" in told(None, TASK)


def test_digests_need_the_inputs() -> None:
    assert Seal("00ff", b"inputs").of({"b": 1, "a": 2}) == Seal("00ff", b"inputs").of(
        {"a": 2, "b": 1}
    )
    digests = {
        Seal(salt, source).of(content)
        for salt in ("00ff", "00fe")
        for source in (b"a", b"b")
        for content in ("x", "y")
    }
    assert len(digests) == 8
