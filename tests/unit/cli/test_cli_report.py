"""`--report`, and `runs report`, of runs on this machine itself."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

Run = Callable[..., "CompletedProcess[str]"]
STEPS = """\
    - name: say <it>
      debug: {msg: "<script>alert(1)</script>"}
    - name: not this
      command: "false"
"""


@pytest.fixture
def steps(local: object, playbook: Callable[[str], Path]) -> str:
    return str(playbook(STEPS))


def test_a_run_leaves_it_and_so_does_its_record(b9prov: Run, folder: Path, steps: str) -> None:
    ran = b9prov("play", steps, "--report", "report.html")
    assert ran.returncode == 1, ran.stderr
    made = b9prov("runs", "report", "last")
    again = next(folder.glob("b9prov-*.html"))
    assert made.returncode == 0 and made.stdout.startswith(f"{again.name} shows run ")
    for path in (folder / "report.html", again):
        page = path.read_text("utf-8")
        assert "say &lt;it&gt;" in page and "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
        assert "1 of 1 host failed" in page and "--limit @" in page
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_where_no_file_can_be_nothing_is_run(b9prov: Run, folder: Path, steps: str) -> None:
    for wrong in (".", "nowhere/report.html"):
        ran = b9prov("play", steps, "--report", wrong)
        assert ran.returncode == 2 and "report file" in ran.stderr, ran.stderr
        assert "not this" not in ran.stdout
    assert b9prov("runs").stdout.strip() == "no runs"
    assert b9prov("runs", "report", "last").returncode == 2
