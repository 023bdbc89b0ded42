"""Folders of runs: names, states, finding, pruning."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.journal import store
from provisioner.journal.record import Record


def make(root: Path, seconds: float, **fields: object) -> Path:
    """A run that has a record, at work or not."""
    folder = store.make_folder(root, seconds)
    (folder / store.EVENTS).touch()
    Record(command="b9prov up", playbook="up.yaml", inventory="i", id=folder.name, **fields).save(  # type: ignore[arg-type]
        folder
    )
    return folder


def test_names_sort_as_times_do_and_are_short() -> None:
    times = [0, 31, 32, 1_700_000_000, 1_700_000_001, 1_800_000_000, 4_000_000_000]
    names = [store.make_id(each) for each in times]
    assert names == sorted(names) and len(set(names)) == len(names)
    assert {len(name) for name in names} == {7}


def test_runs_of_the_same_second_have_names_of_their_own(tmp_path: Path) -> None:
    first, second = (store.make_folder(tmp_path / "runs", 1_700_000_000) for _ in range(2))
    assert first.name < second.name


def test_only_the_owner_gets_in(tmp_path: Path) -> None:
    os.umask(0o000)
    try:
        folder = make(tmp_path / "runs", 1_700_000_000)
    finally:
        os.umask(0o022)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (folder.parent, folder)}
    assert set(modes.values()) == {0o700}
    assert (folder / "run.json").stat().st_mode & 0o777 == 0o600


def test_the_newest_come_first(tmp_path: Path) -> None:
    made = [make(tmp_path, 1_700_000_000 + number).name for number in range(3)]
    assert [kept.id for kept in store.runs(tmp_path)] == made[::-1]
    assert store.find(tmp_path, "last").id == made[-1]


def test_a_run_is_found_by_the_beginning_of_its_name(tmp_path: Path) -> None:
    first, second = make(tmp_path, 1_700_000_000), make(tmp_path, 1_800_000_000)
    assert first.name[0] == second.name[0] and first.name[1] != second.name[1]
    assert store.find(tmp_path, second.name[:2]).id == second.name
    with pytest.raises(BadInput, match="2 runs") as error:
        store.find(tmp_path, second.name[0])
    assert second.name in str(error.value)


@pytest.mark.parametrize("name", ["", "..", "../..", "nothing", "*"])
def test_a_wrong_name_is_an_error(tmp_path: Path, name: str) -> None:
    make(tmp_path, 1_700_000_000)
    with pytest.raises(BadInput):
        store.find(tmp_path, name)


def test_a_mistyped_name_gets_a_suggestion(tmp_path: Path) -> None:
    right = make(tmp_path, 1_700_000_000).name
    with pytest.raises(BadInput, match=f"did you mean {right}"):
        store.find(tmp_path, right[:-1] + ("0" if right[-1] != "0" else "1"))


def test_no_runs(tmp_path: Path) -> None:
    assert store.runs(tmp_path / "none") == []
    with pytest.raises(BadInput, match="no runs"):
        store.find(tmp_path / "none", "last")


def test_a_damaged_record_hides_no_other(tmp_path: Path) -> None:
    right, wrong = make(tmp_path, 1_700_000_000), make(tmp_path, 1_800_000_000)
    for content in ("", "[]", '{"schema": 99}', '{"schema": 1}'):
        (wrong / "run.json").write_text(content)
        assert [kept.id for kept in store.runs(tmp_path)] == [right.name]


def test_how_a_run_stands(tmp_path: Path) -> None:
    for code, result in ((0, "well"), (1, "failed"), (2, "failed"), (130, "interrupted")):
        make(tmp_path, 1_700_000_000 + code, exit_code=code, ended=time.time())
        assert store.find(tmp_path, "last").result == result
    make(tmp_path, 1_800_000_000)
    assert store.find(tmp_path, "last").result == "died"


def test_the_oldest_are_removed(tmp_path: Path) -> None:
    made = [make(tmp_path, 1_700_000_000 + number).name for number in range(5)]
    (tmp_path / "something else").mkdir()
    store.prune(tmp_path, keep=2)
    assert [kept.id for kept in store.runs(tmp_path)] == made[:2:-1]
    assert (tmp_path / "something else").is_dir()


def test_half_a_line_at_the_end_is_left_out(tmp_path: Path) -> None:
    folder = make(tmp_path, 1_700_000_000)
    (folder / store.EVENTS).write_text('{"event": "a"}\n{"event": "b"}\n{"event": "c')
    assert [each["event"] for each in store.find(tmp_path, "last").events()] == ["a", "b"]


@pytest.mark.parametrize("host", ["w1", "a/b", "..", ".hidden", "hôte", "x y", "%2e", "w.example"])
def test_a_log_has_its_hosts_name(tmp_path: Path, host: str) -> None:
    folder = make(tmp_path, 1_700_000_000)
    path = store.log_path(folder, host)
    assert path.parent == folder / "hosts"
    path.write_text("x")
    assert list(store.find(tmp_path, "last").logs()) == [host]
