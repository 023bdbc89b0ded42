"""The controller's audit log."""

from __future__ import annotations

from pathlib import Path

import pytest

from provisioner.errors import BadInput
from provisioner.journal.audit import audited, commands
from provisioner.journal.record import Record
from provisioner.secrets import register


def warn(text: str) -> None:
    raise AssertionError(text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "state" / "audit.jsonl"


def record(command: str = "b9prov up") -> Record:
    return Record(command, "up.yaml", "inventory.yaml", id="1ng2tdh")


def test_a_command_and_its_end(log: Path, tmp_path: Path) -> None:
    with audited(log, record(), warn) as noted:
        noted.exit_code = 1
        noted.hosts = {"w1": {"end": "failed", "ok": 3}}
    (entry,) = commands(log, tmp_path)
    assert (entry["command"], entry["result"], entry["exit_code"]) == ("b9prov up", "failed", 1)
    assert entry["hosts"] == {"w1": "failed"}
    assert entry["by"].count("@") == 1
    assert entry["ended"] >= entry["time"]
    assert log.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("error", "result", "code"),
    [
        (KeyboardInterrupt(), "interrupted", 130),
        (BadInput.of("wrong"), "failed", 2),
        (OSError(), "failed", 1),
    ],
)
def test_a_command_that_ends_otherwise(
    log: Path, tmp_path: Path, error: BaseException, result: str, code: int
) -> None:
    with pytest.raises(type(error)), audited(log, record(), warn):
        raise error
    (entry,) = commands(log, tmp_path)
    assert (entry["result"], entry["exit_code"]) == (result, code)


def test_a_command_that_was_killed_is_on_record(log: Path, tmp_path: Path) -> None:
    with audited(log, record(), warn) as noted:
        noted.exit_code = 0
    begun = log.read_text().splitlines()[0]
    log.write_text(f"{begun}\n{begun[:40]}")
    (entry,) = commands(log, tmp_path)
    assert (entry["result"], entry["ended"]) == ("died", None)


def test_no_secret_is_kept(log: Path) -> None:
    register("hunter2-hunter2")
    with audited(log, record("b9prov up -e token=hunter2-hunter2"), warn):
        pass
    assert "hunter2" not in log.read_text()
    assert "token=" in log.read_text()


def test_what_can_not_be_written_is_told_and_stops_nothing(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("not a folder")
    told: list[str] = []
    with audited(tmp_path / "state" / "audit.jsonl", record(), told.append):
        pass
    assert len(told) == 2 and "does not have this" in told[0]
