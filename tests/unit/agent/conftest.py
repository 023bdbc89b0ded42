"""Shared by the agent's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_process import Agent
from agent_scripted import ScriptedGateway, serve

from provisioner.agent import log
from provisioner.agent.build import build_zipapp


@pytest.fixture
def gateway() -> Iterator[ScriptedGateway]:
    scripted = ScriptedGateway()
    server = serve(scripted)
    yield scripted
    server.shutdown()
    server.server_close()


@pytest.fixture(autouse=True)
def _forget_secrets() -> Iterator[None]:
    yield
    log._secrets.clear()


@pytest.fixture(scope="session")
def zipapp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("agent") / "b9agent.pyz"
    build_zipapp(path)
    return path


@pytest.fixture
def agent(zipapp: Path, tmp_path: Path) -> Iterator[Agent]:
    made = Agent(zipapp, tmp_path)
    yield made
    for process in made.processes:
        if process.poll() is None:
            process.kill()
        process.communicate()
