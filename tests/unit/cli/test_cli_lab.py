"""`b9prov lab`, as far as it needs no lab. The state folder is the test's own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

COMMANDS = ("up", "down", "status", "inventory", "stop w1", "start w1", "reboot w1")


@pytest.mark.parametrize("name", ["", ".", "..", "../lab", "a/b", "/", "Bad Name", "-x"])
def test_only_the_name_of_a_lab_is_taken_for_one(b9prov, folder: Path, name: str) -> None:
    state = Path(os.environ["XDG_STATE_HOME"]) / "b9prov"
    kept = [state / "record", state / "lab" / "other" / "lab.json"]
    for file in kept:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    for command in COMMANDS:
        done = b9prov("lab", *command.split(), f"--name={name}")
        assert (done.returncode, done.stdout) == (2, "")
        assert "is no name for a lab" in done.stderr
    assert all(file.exists() for file in kept)
