"""ollama_models against a scripted server that speaks Ollama's API."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from provisioner.remote.module import Context, ModuleFailed


class ScriptedOllama(ThreadingHTTPServer):
    """Has `there`, gives `registry`; the first `cuts` pulls break off halfway."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.there = {"base:latest"}
        self.registry = {"small:latest", "big:7b"}
        self.cuts = 0
        self.pulls: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: ScriptedOllama

    def log_message(self, *args: object) -> None:
        return

    def _start(self, status: int = 200) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/x-ndjson")
        self.end_headers()

    def _say(self, **event: Any) -> None:
        self.wfile.write(json.dumps(event).encode() + b"\n")

    def do_GET(self) -> None:
        self._start()
        self._say(models=[{"name": name} for name in sorted(self.server.there)])

    def _name(self) -> str:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return str(body["model"])

    def do_POST(self) -> None:
        name = self._name()
        self.server.pulls.append(name)
        self._start()
        self._say(status="pulling manifest")
        if name not in self.server.registry:
            self._say(error="pull model manifest: file does not exist")
            return
        self._say(status="pulling aaa", digest="sha256:aaa", total=1000, completed=400)
        if self.server.cuts:
            self.server.cuts -= 1
            return
        self._say(status="pulling aaa", digest="sha256:aaa", total=1000, completed=1000)
        self._say(status="pulling bbb", digest="sha256:bbb", total=10, completed=10)
        self.server.there.add(name)
        self._say(status="success")

    def do_DELETE(self) -> None:
        self.server.there.discard(self._name())
        self._start()


@pytest.fixture
def ollama() -> Iterator[ScriptedOllama]:
    with ScriptedOllama() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_only_missing_models_are_pulled(apply: Any, ollama: ScriptedOllama) -> None:
    told: list[tuple[int, int, str]] = []
    context = Context(progress=lambda *event: told.append(event))
    arguments = {"url": ollama.url, "models": ["base", "small", "big:7b"]}
    foreseen = apply("ollama_models", **arguments, check=True, diff=True)
    assert foreseen["pulled"] == ["small:latest", "big:7b"] and ollama.pulls == []
    assert "big:7b" in foreseen["diff"]["after"]
    result = apply("ollama_models", context=context, **arguments)
    assert result["changed"] and ollama.pulls == ["small:latest", "big:7b"]
    assert told[-1] == (1010, 1010, "big:7b")
    assert not apply("ollama_models", **arguments)["changed"]


def test_a_pull_that_breaks_off_is_continued(apply: Any, ollama: ScriptedOllama) -> None:
    ollama.cuts = 1
    assert apply("ollama_models", url=ollama.url, models="small")["changed"]
    assert len(ollama.pulls) == 2


def test_no_such_model(apply: Any, ollama: ScriptedOllama) -> None:
    with pytest.raises(ModuleFailed, match=r"cannot pull absent:latest.*does not exist"):
        apply("ollama_models", url=ollama.url, models=["absent"])


def test_no_server(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="does not answer"):
        apply("ollama_models", url="http://127.0.0.1:1", models=["x"])


def test_absent(apply: Any, ollama: ScriptedOllama) -> None:
    assert apply("ollama_models", url=ollama.url, models=["base"], state="absent")["changed"]
    assert ollama.there == set()
