"""`b9prov check gpu`: how rows are shown, and what the exit code makes of them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

Row = dict[str, Any]
GOOD = {"name": "driver", "ok": True, "severity": "error", "found": "565.57.01"}
GOOD |= {"wanted": "535 or newer", "fix": ""}
SICK = {"name": "CUDA", "ok": False, "severity": "error", "found": "error 802: not ready"}
SICK |= {"wanted": "cuInit well", "fix": "install nvidia-fabricmanager"}
WORSE = {**SICK, "name": "PCIe", "severity": "warn", "fix": "seat the GPU anew"}
OPEN = {**GOOD, "name": "MIG", "severity": "skip", "found": "no such GPU", "wanted": ""}


@pytest.fixture
def check(b9prov: Any, local: Path, playbook: Callable[..., Path]) -> Callable[..., Any]:
    """Runs the command over a playbook that finds these rows."""

    def run(rows: list[Row], *words: str) -> Any:
        tasks = f"    - set_fact: {json.dumps({'b9_gpu': rows})}\n"
        folder = playbook(tasks, "own/check_gpu.yaml").parent
        return b9prov("check", "gpu", str(local), "--playbooks", str(folder), *words)

    return run


def test_all_is_well(check: Any) -> None:
    done = check([GOOD, OPEN])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["HOST", "CHECK", "STATE", "FOUND", "WANTED", "FIX"]
    assert "not judged" in lines[2] and lines[-1] == "1 not judged, 1 ok"


def test_a_warning_is_no_failure_and_an_error_is(check: Any) -> None:
    done = check([GOOD, WORSE])
    assert done.returncode == 0 and "warning" in done.stdout
    done = check([GOOD, WORSE, SICK])
    assert done.returncode == 1
    assert done.stdout.splitlines()[-1] == "1 failed, 1 warning, 1 ok"
    assert "install nvidia-fabricmanager" in done.stdout


def test_on_a_terminal_each_host_has_its_table(check: Any) -> None:
    done = check([GOOD, SICK], "--output", "rich")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["localhost", "found", "wanted"]
    assert lines[-2:] == ["CUDA: install nvidia-fabricmanager", "localhost: 1 failed, 1 ok"]


def test_as_json(check: Any) -> None:
    done = check([GOOD, SICK], "--output", "json")
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)
    rows = [{"host": "localhost", **row} for row in (GOOD, SICK)]
    assert json.loads(done.stdout) == {"schema": 1, "checks": rows}


def test_as_junit(check: Any, folder: Path) -> None:
    assert check([GOOD, SICK, WORSE, OPEN], "--junit", "gpu.xml").returncode == 1
    root = ElementTree.parse(folder / "gpu.xml").getroot()
    counts = {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")}
    assert counts == {"tests": "4", "failures": "1", "errors": "0", "skipped": "1"}
    (failure,) = root.iter("failure")
    assert failure.get("message") == "found error 802: not ready, wanted cuInit well"
    assert failure.text == "install nvidia-fabricmanager"
    said = [each.text or "" for each in root.iter("system-out")]
    assert any(text.startswith("warning: ") for text in said)


def test_a_host_that_does_not_answer_is_a_row_too(b9prov: Any, folder: Path) -> None:
    (folder / "inventory.yaml").write_text("hosts: {w1: {address: 127.0.0.1, port: 9}}\n")
    done = b9prov("check", "gpu", "--output", "json", "--junit", "gpu.xml")
    assert done.returncode == 1
    (row,) = json.loads(done.stdout)["checks"]
    assert (row["host"], row["name"], row["ok"]) == ("w1", "the host answers", False)
    assert "refused" in row["found"]
    assert ElementTree.parse(folder / "gpu.xml").getroot().get("failures") == "1"


def test_a_junit_file_that_can_not_be_written_is_told_before(check: Any) -> None:
    done = check([GOOD], "--junit", "no/such/gpu.xml")
    assert (done.returncode, done.stdout) == (2, "")
