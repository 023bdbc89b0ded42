"""A gateway, an Ollama or a caller that sends nonsense: the agent says so in a line and goes on."""

from __future__ import annotations

import io
import json
import socket
import threading
from typing import Any

from fuzzing import bounded
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.agent import http
from provisioner.agent.control.web import Refused, read_request
from provisioner.agent.gateway import Gateway, Verdict, judge
from provisioner.agent.http import Endpoint, HTTPProblem, Response, exchange
from provisioner.agent.inference.backend import BackendError
from provisioner.agent.inference.ollama import Ollama
from provisioner.agent.keeper import Keeper
from provisioner.agent.log import Log
from provisioner.agent.states import Action, Answer, State

PATIENCE = 5.0

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
named = st.dictionaries(
    st.sampled_from(["message", "code", "error", "machine_state", "ttl_seconds", "status"]),
    json_values | st.dictionaries(st.just("ttl_seconds"), json_values),
)
bodies = st.binary(max_size=80) | (named | json_values).map(lambda each: json.dumps(each).encode())
heads = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://elsewhere/\r\n\r\n",
        b"HTTP/1.1 99999999999999999999 No\r\n\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"",
    ]
)
chunks = st.sampled_from([b"5\r\nhello\r\n", b"-1\r\n", b"zz\r\n", b"fffffffff\r\n", b"0\r\n\r\n"])
answers = st.builds(
    lambda head, parts: head + b"".join(parts), heads, st.lists(bodies | chunks, max_size=4)
)


class Saying:
    """A server that says these bytes to whoever comes, and goes away."""

    def __init__(self, said: bytes) -> None:
        self._said = said
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = Endpoint("127.0.0.1", self._listener.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        try:
            while True:
                connection, _ = self._listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(self._said)
        except OSError:
            pass

    def __enter__(self) -> Saying:
        return self

    def __exit__(self, *_: Any) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@bounded(300)
@given(st.sampled_from(Action), st.integers(100, 599), bodies)
@example(Action.KEEPALIVE, 200, b'{"machine_state": {"ttl_seconds": 1e999}}')
@example(Action.KEEPALIVE, 500, b"[" * 100_000)
def test_any_answer_has_a_meaning(action: Action, status: int, body: bytes) -> None:
    verdict = judge(action, Response(status, body))
    assert isinstance(verdict.answer, Answer)
    assert verdict.ttl > 0
    assert "\n" not in verdict.reason and len(verdict.reason) < 400


@bounded(150)
@given(answers)
def test_whatever_is_said_is_an_answer_or_a_problem(said: bytes) -> None:
    with Saying(said) as server:
        try:
            answer = exchange(server.endpoint, "GET", "/", timeout=PATIENCE)
        except HTTPProblem as problem:
            assert str(problem)
        else:
            assert isinstance(answer.body, bytes)
        try:
            for status, line in http.lines(server.endpoint, "GET", "/", idle=PATIENCE):
                assert isinstance(status, int) and b"\n" not in line
        except HTTPProblem as problem:
            assert str(problem)


@bounded(60)
@given(answers)
def test_a_gateway_of_any_kind_gives_a_verdict(said: bytes) -> None:
    with Saying(said) as server:
        verdict = Gateway(server.endpoint, "a-token").send(Action.KEEPALIVE, {})
    assert verdict.answer in Answer


@bounded(60)
@given(answers)
def test_an_ollama_of_any_kind_is_dealt_with(said: bytes) -> None:
    with Saying(said) as server:
        ollama = Ollama(server.endpoint)
        assert ollama.healthy() in (True, False)
        for act in (
            ollama.models,
            lambda: ollama.pull("x", False, lambda *step: None),
            lambda: ollama.delete("x"),
        ):
            try:
                act()
            except BackendError as problem:
                assert "\n" not in str(problem)


class Stopped:
    """A clock that does not wait."""

    stopped = False
    now = 0.0

    def wall(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        return False


@bounded(300)
@given(st.lists(st.tuples(st.sampled_from(Answer), st.floats(0.1, 400)), max_size=30))
def test_a_keepalive_never_comes_before_a_registration(story: list[tuple[Answer, float]]) -> None:
    """Whatever the gateway answers, and however long it takes."""
    sent: list[Action] = []
    clock = Stopped()
    rest = iter(story)

    class Sender:
        def send(self, action: Action, body: dict[str, Any]) -> Verdict:
            sent.append(action)
            answer, seconds = next(rest)
            clock.now += seconds
            return Verdict(answer, "said")

    made = dict.fromkeys(Action, dict)
    keeper = Keeper(Sender(), made, clock, Log(stream=io.StringIO()), 60.0)
    registered = False
    for answer, _ in story:
        before = keeper.standing.state
        pause = keeper.step()
        assert 0 <= pause <= 300
        assert isinstance(keeper.standing.state, State)
        if sent[-1] is Action.REGISTER:
            registered = answer is Answer.OK
        else:
            assert registered
        if before is State.REFUSED and answer is not Answer.OK:
            assert pause >= 300  # a refused token is not hammered


requests_said = st.builds(
    lambda line, headers, body: line + b"".join(headers) + b"\r\n" + body,
    st.sampled_from([b"GET /status HTTP/1.1\r\n", b"POST /inference/pull HTTP/1.1\r\n", b"x\r\n"]),
    st.lists(
        st.sampled_from(
            [b"Host: localhost\r\n", b"Content-Length: 3\r\n", b"Content-Length: x\r\n", b": \r\n"]
        )
        | st.binary(max_size=30),
        max_size=4,
    ),
    st.binary(max_size=20),
)


@bounded(300)
@given(requests_said | st.binary(max_size=200))
@example(b"GET /%zz%F HTTP/1.1\r\n\r\n")
@example(b"\r\n\r\n")
def test_a_caller_of_any_kind_is_read_or_refused(said: bytes) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(said)
        theirs.shutdown(socket.SHUT_WR)
        try:
            request = read_request(ours, PATIENCE)
            assert request.path.startswith("/")
            request.json()
        except Refused as problem:
            assert 400 <= problem.status < 500 and problem.message
        except ConnectionResetError:
            pass
