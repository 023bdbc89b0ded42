"""Servers that answer something else than Ollama does: each is one clear error."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from provisioner import inference
from provisioner.inference import Address, Client, InferenceError, wire

MESSAGES = [{"role": "user", "content": "Hello!"}]
Answer = Callable[[BaseHTTPRequestHandler], None]


class StandIn(ThreadingHTTPServer):
    """Answers every request as it is told, and keeps what was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answer: Answer = lambda handler: None
        self.asked: list[tuple[str, Any, str | None]] = []

    def say(self, content: Any, status: int = 200) -> None:
        data = content if isinstance(content, bytes) else json.dumps(content).encode()

        def answer(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(data)))
            handler.end_headers()
            handler.wfile.write(data)

        self.answer = answer

    @property
    def address(self) -> Address:
        return Address("127.0.0.1", self.server_address[1], timeout=5)


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = json.loads(body) if body else None
        self.server.asked.append((self.path, asked, self.headers.get("Authorization")))
        self.server.answer(self)

    do_GET = do_POST

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def standin() -> Iterator[StandIn]:
    with StandIn() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def client(standin: StandIn) -> Iterator[Client]:
    with Client(standin.address) as client:
        yield client


def test_what_is_asked(standin: StandIn, client: Client) -> None:
    standin.say({"model": "m", "message": {"role": "assistant", "content": "Hi"}, "done": True})
    result = client.chat("m", MESSAGES, options={"seed": 1}, keep_alive="5m", format=None)
    assert (result.content, result.done) == ("Hi", True)
    body = {"model": "m", "messages": MESSAGES, "stream": False, "keep_alive": "5m"}
    assert standin.asked == [("/api/chat", {**body, "options": {"seed": 1}}, None)]


def test_a_token_for_what_is_in_front(standin: StandIn) -> None:
    standin.say({"models": []})
    address = Address("127.0.0.1", standin.address.port, token="t0ken")
    with Client(address) as client:
        assert client.list_models() == []
    assert standin.asked == [("/api/tags", None, "Bearer t0ken")]
    assert "t0ken" not in repr(address)


def test_durations_are_seconds(standin: StandIn, client: Client) -> None:
    standin.say(
        {
            "model": "m",
            "response": "…",
            "done": True,
            "done_reason": "stop",
            "total_duration": 3_000_000_000,
            "eval_count": 8,
            "eval_duration": 2_000_000_000,
            "prompt_eval_count": 5,
        }
    )
    result = client.generate("m", "Once")
    assert (result.done_reason, result.usage.seconds, result.usage.prompt_tokens) == ("stop", 3, 5)
    assert result.usage.tokens_per_second == 4


@pytest.mark.parametrize(
    ("status", "content", "kind", "said"),
    [
        (404, {"error": "model 'x' not found"}, inference.ModelNotFound, "ollama pull"),
        (400, {"error": "invalid options"}, inference.Refused, "HTTP 400: invalid options"),
        (500, {"error": "out of memory"}, inference.Refused, "HTTP 500: out of memory"),
        (502, b"<html>Bad Gateway</html>", inference.Refused, "HTTP 502: <html>Bad Gateway"),
        (302, b"", inference.Refused, "HTTP 302: nothing"),
        (200, b"<html>hello</html>", inference.BadAnswer, "no JSON: <html>"),
        (200, b'{"model": "m", "mess', inference.BadAnswer, "no JSON"),
        (200, b"[" * 100_000, inference.BadAnswer, "no JSON"),
        (200, b"[]", inference.BadAnswer, "no JSON object"),
        (200, {"model": "m"}, inference.BadAnswer, "no 'message'"),
        (200, {"message": "hello"}, inference.BadAnswer, "no 'message'"),
        (200, {"error": "it broke"}, inference.Refused, "it broke"),
    ],
)
def test_strange_answers(
    standin: StandIn, client: Client, status: int, content: Any, kind: type[Exception], said: str
) -> None:
    standin.say(content, status)
    with pytest.raises(kind, match=said):
        client.chat("m", MESSAGES)
    with pytest.raises(kind, match=said):
        list(client.stream_chat("m", MESSAGES))

    async def ask() -> None:
        async with inference.AsyncClient(standin.address) as waiting:
            await waiting.chat("m", MESSAGES)

    with pytest.raises(kind, match=said):
        asyncio.run(ask())


def test_a_stream_that_fails_in_the_middle(standin: StandIn, client: Client) -> None:
    part = json.dumps({"model": "m", "response": "Once", "done": False})
    standin.say(f'{part}\n{{"error": "the runner was killed"}}\n'.encode())
    parts = client.stream_generate("m", "Tell")
    assert next(parts).content == "Once"
    with pytest.raises(inference.Refused, match="the runner was killed"):
        next(parts)


def test_an_answer_that_breaks_off(standin: StandIn, client: Client) -> None:
    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b'{"model"')
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)

    standin.answer = half
    with pytest.raises(inference.Unavailable, match="broke off"):
        client.embed("m", "text")


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    there = pytest.raises(inference.Unavailable, match="is Ollama running there")
    with Client(Address("127.0.0.1", port)) as client, there:
        client.list_models()


def test_a_server_that_says_nothing(standin: StandIn) -> None:
    release = threading.Event()
    standin.answer = lambda handler: release.wait(30) and None
    try:
        silent = pytest.raises(inference.TimedOut, match=r"said nothing for 0\.2 s")
        with Client(Address("127.0.0.1", standin.address.port, timeout=0.2)) as client, silent:
            client.list_models()
    finally:
        release.set()


def test_embeddings(standin: StandIn, client: Client) -> None:
    standin.say({"model": "m", "embeddings": [[1, 2.5], [3, 4]]})
    result = client.embed("m", ["a", "b"])
    assert result.embeddings == ((1.0, 2.5), (3.0, 4.0))
    with pytest.raises(ValueError, match="2 embeddings"):
        _ = result.embedding
    standin.say({"model": "m", "embeddings": [["x"]]})
    with pytest.raises(inference.BadAnswer):
        client.embed("m", "a")


def test_the_environment_names_the_server(
    standin: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inference, "_client", None)
    monkeypatch.setenv("BETA9_INFERENCE_HOST", "127.0.0.1")
    monkeypatch.setenv("BETA9_INFERENCE_PORT", str(standin.address.port))
    standin.say({"models": [{"name": "m:latest", "size": 3, "digest": "ab"}]})
    assert inference.list_models() == [inference.Model("m:latest", 3, "ab")]
    assert asyncio.run(inference.alist_models()) == inference.list_models()
    monkeypatch.setattr(inference, "_client", None)
    monkeypatch.setenv("BETA9_INFERENCE_PORT", "many")
    with pytest.raises(InferenceError, match="BETA9_INFERENCE_PORT is no port: 'many'"):
        inference.list_models()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner),
    max_leaves=12,
)
KEYS = ("model", "message", "response", "embeddings", "models", "details", "done", "eval_count")


@settings(max_examples=300, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_whatever_json_comes_is_a_result_or_an_error(content: dict[str, Any]) -> None:
    for parse in (wire.chat, wire.generated, wire.embedded, wire.models):
        try:
            parse(wire.decoded(json.dumps(content)))
        except InferenceError as error:
            assert str(error)
