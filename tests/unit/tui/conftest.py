"""Shared by the tests of the terminal UI."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from scripted_agent import ScriptedAgent, serving


@pytest.fixture
def agent() -> Iterator[ScriptedAgent]:
    with serving(ScriptedAgent()) as running:
        yield running
