"""Playbooks run by the real engine against real runners, which are processes on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest
from engine_harness import Workbench


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workbench:
    """Runs playbooks written as text; see `Workbench`."""
    return Workbench(tmp_path, monkeypatch)
