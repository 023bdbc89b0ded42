"""Audit logs: appended line by line, readable after a crash, of bounded size."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from append_only import removable

from provisioner.remote import auditlog

WRITE = """
import sys
from pathlib import Path
from provisioner.remote import auditlog
for number in range(50):
    auditlog.append(Path(sys.argv[1]), {"who": sys.argv[2], "number": number}, 0o640)
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path / "log" / "audit.jsonl"
    removable(tmp_path)


def test_entries_have_a_time_and_who_came(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "ann")
    monkeypatch.setenv("SSH_CONNECTION", "192.0.2.7 50000 192.0.2.1 22")
    assert auditlog.note(log, {"action": "revoked", "worker": "w1"}) == ""
    (entry,) = auditlog.read(log)
    assert entry.pop("time") > 1e9
    assert entry["login"] == "ann" and entry["worker"] == "w1"
    assert log.stat().st_mode & 0o777 == 0o640
    assert log.parent.stat().st_mode & 0o777 == 0o750


def test_the_address_is_found_above_sudo(log: Path) -> None:
    """sudo drops SSH_CONNECTION, so a process above it is asked."""
    code = "from provisioner.remote import auditlog; print(auditlog.login().get('from'))"
    inner = [sys.executable, "-c", code]
    outer = "import os, subprocess, sys; subprocess.run(sys.argv[1:], env={'PATH': '/bin'})"
    env = {"SSH_CONNECTION": "192.0.2.7 50000 192.0.2.1 22", "PATH": "/bin"}
    done = subprocess.run(
        [sys.executable, "-c", outer, *inner], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "192.0.2.7\n"


def test_a_line_that_a_crash_cut_short_spoils_no_other(log: Path) -> None:
    log.parent.mkdir()
    auditlog.append(log, {"number": 1}, 0o640)
    with log.open("a") as file:
        file.write('{"time": 1, "numb')
    auditlog.append(log, {"number": 2}, 0o640)
    assert [entry["number"] for entry in auditlog.read(log)] == [1, 2]
    assert len(log.read_text().splitlines()) == 3


def test_many_writers_at_once_lose_nothing(log: Path) -> None:
    log.parent.mkdir()
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, log, who]) for who in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    seen = {(entry["who"], entry["number"]) for entry in auditlog.read(log)}
    assert len(seen) == len(log.read_text().splitlines()) == 200


def test_a_full_log_is_put_aside_and_still_read(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auditlog, "MOST_BYTES", 2000)
    log.parent.mkdir()
    for number in range(60):
        auditlog.append(log, {"number": number}, 0o640, marked=True)
    assert sorted(each.name for each in log.parent.iterdir()) == ["audit.jsonl", "audit.jsonl.1"]
    assert all(each.stat().st_size < 2100 for each in log.parent.iterdir())
    numbers = [entry["number"] for entry in auditlog.read(log)]
    assert numbers == list(range(numbers[0], 60)) and len(numbers) > 30


def test_lines_can_not_be_changed_where_the_file_system_can(log: Path) -> None:
    auditlog.note(log, {"action": "revoked"})
    shown = subprocess.run(["lsattr", log], capture_output=True, text=True, check=False).stdout
    if "a" not in shown.partition(" ")[0]:
        pytest.skip("this file system, or this user, has no append-only files")
    with pytest.raises(PermissionError):
        log.write_text("")
    auditlog.note(log, {"action": "restored"})
    assert [json.loads(line)["action"] for line in log.read_text().splitlines()] == [
        "revoked",
        "restored",
    ]


def test_a_link_in_its_place_is_not_followed(log: Path, tmp_path: Path) -> None:
    log.parent.mkdir()
    (tmp_path / "precious").write_text("")
    log.symlink_to(tmp_path / "precious")
    assert "does not have this" in auditlog.note(log, {"action": "revoked"})
    assert (tmp_path / "precious").read_text() == ""
