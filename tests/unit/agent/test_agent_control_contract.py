"""The control API keeps what its OpenAPI document promises, whatever is sent to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from test_agent_control import Control, controlled

from provisioner.agent.control import guard
from provisioner.agent.control.openapi import DOCUMENT

# a stream has no end; that it is told as it happens is tested beside the others
SCHEMA = schemathesis.openapi.from_dict(DOCUMENT).exclude(path="/events")


@pytest.fixture(scope="module")
def running() -> Iterator[Control]:
    """A server that is not soon tired, with models to delete."""
    patch = pytest.MonkeyPatch()
    for name in ("RATE", "BURST", "CHANGES", "CHANGES_BURST"):
        patch.setattr(guard, name, 1e9)
    with controlled() as control:
        control.ollama.go.set()
        yield control
    patch.undo()


@SCHEMA.parametrize()
@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
def test_it_keeps_its_promises(case: schemathesis.Case, running: Control) -> None:
    case.call_and_validate(base_url=f"http://{running.server.endpoint}", timeout=10)
