"""The steps of `b9prov infer`, against the Ollama stand-in and a stand-in for the agent."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from provisioner.agent.tui.client import Trouble
from provisioner.cli.trial import Ended, Trial
from provisioner.inference import Address
from provisioner.lab.standins.ollama import Handler, Model, Server, Store


class AgentStandIn:
    """Starts and stops nothing, and says that it did."""

    def __init__(self, state: str = "running", after: str = "running") -> None:
        self.state, self.after, self.asked = state, after, list[str]()

    def inference(self) -> dict[str, Any]:
        return {"status": self.state, "error": "as the test has it"}

    def start_inference(self) -> None:
        self.asked.append("start")
        self.state = self.after

    def stop_inference(self) -> None:
        self.asked.append("stop")
        self.state = "stopped"


@pytest.fixture
def address(tmp_path: Path) -> Iterator[Address]:
    """Where the stand-in serves one model."""

    class Own(Handler):
        store = Store(tmp_path)

    Own.store.add(Model("llama3.2"))
    server = Server(("127.0.0.1", 0), Own)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield Address("127.0.0.1", server.server_address[1], 5)
    server.shutdown()
    thread.join()
    server.server_close()


def tried(
    agent: Any, address: Address, model: str | None = None, requests: int = 2
) -> tuple[Trial, list[Ended]]:
    told: list[Ended] = []
    trial = Trial(agent, address, model, "Hello?", requests)
    assert trial.run(told.append) == told
    return trial, told


def test_all_steps_of_a_server_that_ran(address: Address) -> None:
    agent = AgentStandIn()
    trial, steps = tried(agent, address)
    assert [step.number for step in steps] == [0, 1, 2, 3, 4, 5, 6]
    assert all(step.ok for step in steps) and agent.asked == []
    assert trial.found["model"] == "llama3.2:latest"
    assert "ollama-stand-in" in trial.found["answer"]
    latency = trial.found["latency"]
    assert 0 < latency["min"] <= latency["mean"] <= latency["max"]
    assert steps[6].detail == "left as it was found"


def test_a_server_that_was_stopped_is_stopped_again(address: Address) -> None:
    agent = AgentStandIn("stopped")
    _, steps = tried(agent, address, "llama3.2")
    assert all(step.ok for step in steps) and agent.asked == ["start", "stop"]
    agent = AgentStandIn("stopped")
    _, steps = tried(agent, address, "nosuch")
    assert [step.number for step in steps] == [0, 1, 2, 6]
    assert "no model nosuch there (models: llama3.2:latest)" in steps[2].detail
    assert not steps[2].ok and agent.asked == ["start", "stop"]


def test_a_start_that_fails(address: Address) -> None:
    agent = AgentStandIn("stopped", "failed")
    _, steps = tried(agent, address)
    assert [step.ok for step in steps] == [False, True]
    assert "as the test has it" in steps[0].detail and agent.asked == ["start", "stop"]


def test_an_agent_that_can_not_be_asked(address: Address) -> None:
    class Silent(AgentStandIn):
        def inference(self) -> dict[str, Any]:
            raise Trouble("nothing listens there: is b9agent running?")

    _, steps = tried(Silent(), address)
    assert not steps[0].ok and "is b9agent running" in steps[0].detail
    _, steps = tried(None, address)  # where it is switched off
    assert all(step.ok for step in steps)


def test_a_server_that_is_not_there() -> None:
    _, steps = tried(AgentStandIn(), Address("127.0.0.1", 9, 1))
    assert [step.ok for step in steps] == [True, False, True]
    assert "can't be reached" in steps[1].detail
