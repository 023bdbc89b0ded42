"""What a journal leaves of a run, whatever happens to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner import secrets
from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
)
from provisioner.journal import Formats, Journal, Record, find
from provisioner.report import make_report
from provisioner.report.files import how_it_ended

FORMATS = Formats(
    events=lambda stream: make_report("json", stream=stream, rerun=lambda hosts: "again"),
    log=lambda stream: make_report("plain", stream=stream, rerun=lambda hosts: "again", verbose=1),
    end=how_it_ended,
)


def task(host: str, name: str, status: str = "ok", **result: Any) -> TaskFinished:
    return TaskFinished(host, "Play", name, "command", "p.yaml:3", status, 0.1, result)


EVENTS: list[Event] = [
    RunStarted("p.yaml", ("w1", "w2")),
    PlayStarted("Play", ("w1", "w2")),
    HostConnected("w1", 0.2),
    task("w1", "the first"),
    task("w2", "the second", "failed", msg="it broke: the-password-of-it"),
    RunFinished({"w1": HostSummary(ok=1), "w2": HostSummary(failed=1, reason="broke")}, 1.5),
]


@pytest.fixture
def begin(tmp_path: Path) -> Callable[..., Journal]:
    """Begins a journal; what it warns of is in `warnings`."""

    def call(root: Path = tmp_path / "runs", warnings: list[str] | None = None) -> Journal:
        record = Record(command="b9prov up", playbook="p.yaml", inventory="i.yaml")
        told = warnings if warnings is not None else []
        return Journal.begin(root, record, FORMATS, told.append)

    return call


def test_a_run_is_kept(begin: Callable[..., Journal], tmp_path: Path) -> None:
    secrets.register("the-password-of-it")
    with begin() as journal:
        for event in EVENTS:
            journal(event)
        assert find(tmp_path / "runs", "last").result == "running"
        journal.exit_code = 1
    kept = find(tmp_path / "runs", "last")
    assert (kept.result, kept.record.exit_code) == ("failed", 1)
    assert kept.record.hosts["w1"] == {"end": "well", "ok": 1, "changed": 0} | {
        "skipped": 0,
        "failed": 0,
    }
    assert kept.record.hosts["w2"]["end"] == "failed"
    assert [each["event"] for each in kept.events()][-2:] == ["run_finished", "summary"]
    logs = {name: path.read_text() for name, path in kept.logs().items()}
    assert "the first" in logs["w1"] and "the second" not in logs["w1"]
    assert "the second" in logs["w2"] and "it broke: ********" in logs["w2"]
    everything = "".join(p.read_text() for p in kept.folder.rglob("*") if p.is_file())
    assert "the-password-of-it" not in everything
    files = [p for p in kept.folder.rglob("*") if p.is_file()]
    assert {p.stat().st_mode & 0o777 for p in files} == {0o600}


def test_each_line_is_there_at_once(begin: Callable[..., Journal], tmp_path: Path) -> None:
    with begin() as journal:
        for count, event in enumerate(EVENTS[:-1], 1):
            journal(event)
            assert len(find(tmp_path / "runs", "last").events()) == count


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from test_journal_writer import EVENTS, FORMATS
from provisioner.journal import Journal, Record
with Journal.begin(Path(sys.argv[2]), Record("b9prov up", "p", "i"), FORMATS, print) as journal:
    for event in EVENTS[:-1]:
        journal(event)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_run_is_readable_up_to_where_it_got(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", KILLED, str(Path(__file__).parent), str(tmp_path)]
    assert subprocess.run(argv, timeout=60).returncode == -signal.SIGKILL
    kept = find(tmp_path, "last")
    assert kept.result == "died"
    assert kept.events()[-1]["task"] == "the second"
    assert "it broke" in kept.logs()["w2"].read_text()
    assert set(kept.record.hosts) == {"w1", "w2"}


def test_an_exception_ends_the_record(begin: Callable[..., Journal], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), begin():
        raise KeyboardInterrupt
    assert find(tmp_path / "runs", "last").result == "interrupted"


def test_a_place_that_cannot_be_written_is_a_warning(
    begin: Callable[..., Journal], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    warnings: list[str] = []
    with begin(tmp_path / "file" / "runs", warnings) as journal:
        for event in EVENTS:
            journal(event)
        journal.note_done({"host": "w1"})
        journal.exit_code = 0
    assert len(warnings) == 1 and "no journal" in warnings[0]


def test_a_full_disk_is_a_warning(begin: Callable[..., Journal], tmp_path: Path) -> None:
    warnings: list[str] = []
    with begin(warnings=warnings) as journal:
        for name in ("hosts/w1.log", "done.jsonl"):
            os.symlink("/dev/full", journal.folder / name)
        for event in EVENTS:
            journal(event)
        journal.note_done({"host": "w1"})
        journal.exit_code = 1
    assert len(warnings) == 1 and "No space left" in warnings[0]
    kept = find(tmp_path / "runs", "last")
    assert kept.result == "failed" and "the second" in kept.logs()["w2"].read_text()


def test_many_hosts_need_few_open_files(begin: Callable[..., Journal], tmp_path: Path) -> None:
    names = tuple(f"w{number}" for number in range(200))
    before = len(os.listdir("/proc/self/fd"))
    with begin() as journal:
        journal(RunStarted("p.yaml", names))
        assert len(os.listdir("/proc/self/fd")) - before <= 80
    assert set(find(tmp_path / "runs", "last").logs()) == set(names)


def test_the_record_has_no_more_than_it_says(begin: Callable[..., Journal], tmp_path: Path) -> None:
    with begin() as journal:
        journal.exit_code = 0
    kept = find(tmp_path / "runs", "last")
    content = json.loads((kept.folder / "run.json").read_text())
    assert content["schema"] == 1 and content["ended"] >= content["started"]
