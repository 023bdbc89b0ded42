"""evidence tells of units, disks, ports and the clock, also of those that are not there."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import process


def test_it_looks_at_what_it_is_asked_about(
    apply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {
        "systemctl": "LoadState=loaded\nActiveState=failed\nResult=exit-code\nNRestarts=4\n",
        "journalctl": "first line\n\nlast = line\n",
    }
    monkeypatch.setattr(
        process, "run", lambda argv, **_: process.Outcome(0, said[argv[0]], "", 0.0)
    )
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        seen = apply("evidence", units=["x"], paths=[f"{tmp_path}/no/such"], ports=[port, 1])
    assert abs(seen["time"] - time.time()) < 60
    x = seen["units"]["x"]
    assert (x["ActiveState"], x["Result"], x["NRestarts"]) == ("failed", "exit-code", "4")
    assert x["journal"] == ["first line", "last = line"]
    (disk,) = seen["disks"]
    assert disk["path"] == str(tmp_path)
    assert 0 <= disk["free_mib"] <= disk["total_mib"]
    (holder,) = seen["ports"]
    assert (holder["port"], holder["address"]) == (port, "127.0.0.1")
    assert holder["program"]


def test_a_unit_that_is_not_there_has_no_journal(
    apply: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def run(argv: list[str], **_: Any) -> process.Outcome:
        asked.append(argv[0])
        return process.Outcome(0, "LoadState=not-found\nActiveState=inactive\n", "", 0.0)

    monkeypatch.setattr(process, "run", run)
    seen = apply("evidence", units=["x"], paths=["/"], ports=[])
    assert seen["units"]["x"]["journal"] == []
    assert asked == ["systemctl"]
