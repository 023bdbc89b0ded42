"""The agent's control API before a real Ollama."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
from real_servers import Mirror, eventually
from test_ollama import PORT, serving

from provisioner import inference
from provisioner.agent.control.desk import Desk
from provisioner.agent.control.server import Server
from provisioner.agent.http import Endpoint
from provisioner.agent.hub import Hub
from provisioner.agent.inference.manager import Manager
from provisioner.agent.inference.ollama import Ollama
from provisioner.agent.inference.servant import Child
from provisioner.agent.log import Log
from provisioner.agent.pods import Pods
from provisioner.lab import registry

pytestmark = pytest.mark.usefixtures("own_network")


@pytest.fixture(scope="module")
def control(
    own_network: None, real: Mirror, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """The URL of the control API, with a real Ollama behind it."""
    with serving(real, tmp_path_factory.mktemp("ollama") / "real", PORT):
        backend, hub = Ollama(Endpoint("127.0.0.1", PORT)), Hub()
        pods = Pods(Endpoint("127.0.0.1", 1), "", Log())
        desk = Desk(dict, Manager(backend, Child(backend), hub, Log()), hub, pods)
        server = Server(Endpoint("127.0.0.1", 0), "", lambda: desk, Log())
        yield f"http://{server.endpoint}"
        server.stop()


def status(control: str) -> Any:
    return requests.get(f"{control}/inference/status", timeout=10).json()


def pulled(control: str, model: str) -> Any:
    """What came of a pull, once it has ended."""
    asked = {"model": model, "insecure": True}
    answer = requests.post(f"{control}/inference/pull", json=asked, timeout=10)
    # a pull may have failed by the time that it is told of
    assert answer.status_code == 202 and answer.json()["status"] in ("pulling", "failed")

    def now() -> Any:
        (pull,) = [each for each in status(control)["pulls"] if each["model"] == model]
        return pull

    eventually(lambda: now()["status"] != "pulling", "the pull ends")
    return now()


def test_a_model_is_pulled_listed_answers_and_goes(control: str, real: Mirror) -> None:
    assert status(control)["status"] == "running"
    assert status(control)["models"] == []
    with registry.serving(real.folder) as address:
        tiny = f"{address}/library/tiny:latest"
        assert pulled(control, tiny)["status"] == "pulled"
        failed = pulled(control, tiny.replace("tiny", "nosuch"))
    assert failed["status"] == "failed" and "file does not exist" in failed["error"]
    (model,) = requests.get(f"{control}/inference/models", timeout=10).json()["models"]
    assert (model["name"], model["loaded"], model["size"] > 400_000) == (tiny, False, True)
    with inference.Client(inference.Address("127.0.0.1", PORT)) as client:
        said = client.generate(model=tiny, prompt="hello", options={"num_predict": 4})
        assert said.content is not None
    assert status(control)["loaded"] == [tiny]
    assert requests.delete(f"{control}/inference/models/{tiny}", timeout=10).ok
    assert status(control)["models"] == []
    assert requests.delete(f"{control}/inference/models/{tiny}", timeout=10).status_code == 404
