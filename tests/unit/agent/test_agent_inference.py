"""Servers of models: who starts them, and vLLM by its OpenAI API."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from provisioner.agent.http import Endpoint
from provisioner.agent.hub import Hub
from provisioner.agent.inference import servant as module
from provisioner.agent.inference.backend import (
    BackendError,
    Model,
    NotThere,
    Unsupported,
    is_model_name,
)
from provisioner.agent.inference.manager import Manager
from provisioner.agent.inference.ollama import Ollama
from provisioner.agent.inference.servant import Asked, Child, Systemctl, servant_for
from provisioner.agent.inference.vllm import VLLM
from provisioner.agent.log import Log

OLLAMA = Ollama(Endpoint("127.0.0.1", 11434))


def test_a_unit_is_systemds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = (str(tmp_path / "none"), str(tmp_path))
    assert isinstance(servant_for(OLLAMA, tmp_path, folders), Child)
    (tmp_path / "ollama.service").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert type(servant_for(OLLAMA, tmp_path, folders)) is Systemctl
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert type(servant_for(OLLAMA, tmp_path, folders)) is Asked


def test_root_is_asked_by_a_file(tmp_path: Path) -> None:
    asks = tmp_path / "asks"
    asked = Asked("ollama.service", asks)
    with pytest.raises(BackendError, match=r"run systemctl start ollama.service as root"):
        asked.start()
    asks.mkdir()
    asked.start()
    asked.stop()
    assert sorted(path.name for path in asks.iterdir()) == ["start-ollama", "stop-ollama"]
    asked.close()
    assert len(list(asks.iterdir())) == 2


def test_what_systemctl_says_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "systemctl"
    program.write_text('#!/bin/sh\necho "$*" >> "$0.log"; echo "Unit is masked." >&2; exit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    unit = Systemctl("ollama.service")
    with pytest.raises(BackendError, match=r"systemctl start ollama.service: Unit is masked\."):
        unit.start()
    assert not unit.failed
    said = program.with_name("systemctl.log").read_text().splitlines()
    assert said == [
        "--no-ask-password start ollama.service",
        "--no-ask-password is-failed --quiet ollama.service",
    ]
    monkeypatch.setattr(module, "_SYSTEMCTL_SECONDS", 0.2)
    program.write_text("#!/bin/sh\nexec sleep 5\n")
    with pytest.raises(BackendError, match="timed out"):
        unit.stop()


class VLLMStandIn(BaseHTTPRequestHandler):
    """Speaks vLLM's health and list of models."""

    status, models = 200, b""

    def do_GET(self) -> None:
        body = self.models if self.path == "/v1/models" else b""
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def vllm() -> Iterator[VLLM]:
    listed = {
        "object": "list",
        "data": [{"id": "Qwen/Qwen2.5-0.5B-Instruct", "object": "model", "owned_by": "vllm"}],
    }
    VLLMStandIn.status, VLLMStandIn.models = 200, json.dumps(listed).encode()
    server = HTTPServer(("127.0.0.1", 0), VLLMStandIn)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield VLLM(Endpoint("127.0.0.1", server.server_address[1]), "Qwen/Qwen2.5-0.5B-Instruct")
    server.shutdown()
    server.server_close()


def test_vllm_tells_of_its_model(vllm: VLLM) -> None:
    assert vllm.healthy()
    assert vllm.models() == [Model("Qwen/Qwen2.5-0.5B-Instruct", 0, True)]
    status = Manager(vllm, Child(vllm), Hub(), Log()).status()
    assert (status["status"], status["backend"]) == ("running", "vllm")
    assert status["loaded"] == ["Qwen/Qwen2.5-0.5B-Instruct"]


@pytest.mark.parametrize("answer", [b"<html>", b"{}", b'{"data": 5}', b'{"data": [{}]}', b"[]"])
def test_what_is_no_vllm_is_said(vllm: VLLM, answer: bytes) -> None:
    VLLMStandIn.models = answer
    with pytest.raises(BackendError, match="not of OpenAI's API"):
        vllm.models()
    VLLMStandIn.status = 503
    assert not vllm.healthy()
    with pytest.raises(BackendError, match="status 503"):
        vllm.models()


def test_vllm_is_started_with_its_model(vllm: VLLM) -> None:
    port = str(vllm.endpoint.port)
    assert vllm.command() == [
        *("vllm", "serve", "Qwen/Qwen2.5-0.5B-Instruct", "--host", "127.0.0.1", "--port", port)
    ]
    with pytest.raises(Unsupported, match=r"set inference\.model"):
        VLLM(vllm.endpoint).command()
    with pytest.raises(Unsupported):
        vllm.pull("x", False, lambda *step: None)
    with pytest.raises(Unsupported):
        vllm.delete("x")


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("llama3.2", True),
        ("gemma3:1b", True),
        ("127.0.0.1:5000/library/tiny:latest", True),
        ("hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M", True),
        ("", False),
        ("-x", False),
        ("../x", False),
        ("a b", False),
        ("a\n", False),
        ("x" * 300, False),
    ],
)
def test_names_of_models(name: str, good: bool) -> None:
    assert is_model_name(name) is good


def test_a_name_that_can_be_none_is_not_asked_for() -> None:
    with pytest.raises(NotThere):
        Manager(OLLAMA, Child(OLLAMA), Hub(), Log()).delete("../../x")
