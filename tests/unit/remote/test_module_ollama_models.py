"""ollama_models against a scripted server that speaks Ollama's API."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from provisioner.remote.module import Context, ModuleFailed


def digest(name: str) -> str:
    """That of the registry's manifest."""
    return hashlib.sha256(name.encode()).hexdigest()


class ScriptedOllama(ThreadingHTTPServer):
    """Has `there`, gives `registry`; the first `cuts` pulls break off halfway."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.there = {"base:latest": digest("base:latest")}
        self.registry = {"small:latest", "big:7b"}
        self.cuts = 0
        self.pulls: list[str] = []
        self.meeting: threading.Barrier | None = None
        self.now = self.most = 0
        self.lock = threading.Lock()

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
        there = sorted(self.server.there.items())
        self._say(models=[{"name": name, "digest": digest} for name, digest in there])

    def _name(self) -> str:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        return str(body["model"])

    def do_POST(self) -> None:
        name = self._name()
        self.server.pulls.append(name)
        self._start()
        with self.server.lock:
            self.server.now += 1
            self.server.most = max(self.server.most, self.server.now)
        try:
            if self.server.meeting:
                self.server.meeting.wait(10)
            last = self._pull(name)
        finally:  # before the client knows, who may begin the next one at once
            with self.server.lock:
                self.server.now -= 1
        if last:
            self._say(**last)

    def _pull(self, name: str) -> dict[str, str]:
        """All lines but the last, which is returned; none of one that is cut."""
        self._say(status="pulling manifest")
        if name not in self.server.registry:
            return {"error": "pull model manifest: file does not exist"}
        self._say(status="pulling aaa", digest="sha256:aaa", total=1000, completed=400)
        if self.server.cuts:
            self.server.cuts -= 1
            return {}
        self._say(status="pulling aaa", digest="sha256:aaa", total=1000, completed=1000)
        self._say(status="pulling bbb", digest="sha256:bbb", total=10, completed=10)
        self.server.there[name] = digest(name)
        return {"status": "success"}

    def do_DELETE(self) -> None:
        self.server.there.pop(self._name(), None)
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
    assert result["changed"] and sorted(ollama.pulls) == ["big:7b", "small:latest"]
    done, total, label = told[-1]
    assert done == total == 2020 and label in ("big:7b", "small:latest")
    again = apply("ollama_models", **arguments)
    assert not again["changed"] and set(again["digests"]) == {"base:latest", *ollama.pulls}


def test_models_are_pulled_at_the_same_time_but_not_too_many(
    apply: Any, ollama: ScriptedOllama
) -> None:
    ollama.registry = {f"m{number}:latest" for number in range(5)}
    ollama.meeting = threading.Barrier(2)  # each waits for another one: alone it would fail
    ollama.registry.add("m5:latest")
    models = sorted(ollama.registry)
    assert apply("ollama_models", url=ollama.url, models=models, parallel=2)["changed"]
    assert ollama.most == 2


def test_what_fails_lets_the_others_under_way_finish(apply: Any, ollama: ScriptedOllama) -> None:
    models = ["absent", "small", *(f"m{number}" for number in range(5))]
    with pytest.raises(ModuleFailed, match=r"cannot pull absent:latest: .*does not exist"):
        apply("ollama_models", url=ollama.url, models=models, parallel=1)
    assert ollama.pulls[0] == "absent:latest" and len(ollama.pulls) < len(models)


def test_a_digest_decides(apply: Any, ollama: ScriptedOllama) -> None:
    ollama.there["small:latest"] = "0" * 64
    right = digest("small:latest")
    assert not apply("ollama_models", url=ollama.url, models=["small"])["changed"]
    for wanted in (f"small@sha256:{right}", f"small:latest@sha256:{right[:12]}"):
        ollama.there["small:latest"] = "0" * 64
        assert apply("ollama_models", url=ollama.url, models=[wanted], check=True)["changed"]
        assert apply("ollama_models", url=ollama.url, models=[wanted])["pulled"] == ["small:latest"]
        assert not apply("ollama_models", url=ollama.url, models=[wanted])["changed"]
    with pytest.raises(ModuleFailed, match=f"small:latest is sha256:{right} where .* not sha256:1"):
        apply("ollama_models", url=ollama.url, models=[f"small@sha256:{'1' * 64}"])


def test_only_prune_removes_what_is_not_listed(apply: Any, ollama: ScriptedOllama) -> None:
    arguments: dict[str, Any] = {"url": ollama.url, "models": ["small"]}
    apply("ollama_models", **arguments)
    assert set(ollama.there) == {"base:latest", "small:latest"}
    foreseen = apply("ollama_models", **arguments, prune=True, check=True, diff=True)
    assert foreseen["changed"] and foreseen["deleted"] == ["base:latest"]
    assert "base" in foreseen["diff"]["before"] and "base" not in foreseen["diff"]["after"]
    assert set(ollama.there) == {"base:latest", "small:latest"}, "only looked at"
    assert apply("ollama_models", **arguments, prune=True)["deleted"] == ["base:latest"]
    assert set(ollama.there) == {"small:latest"}
    assert not apply("ollama_models", **arguments, prune=True)["changed"]


def test_a_check_may_come_before_ollama_does(apply: Any) -> None:
    foreseen = apply("ollama_models", url="http://127.0.0.1:1", models=["x"], check=True)
    assert foreseen["pulled"] == ["x:latest"]


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
    assert ollama.there == {}
