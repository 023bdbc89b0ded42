"""Peers that send nonsense: both ends of a conversation end in time, and nobody waits for ever."""

from __future__ import annotations

import io
import threading
from concurrent.futures import Future
from typing import Any

import pytest
from fuzzing import bounded
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.remote import frames
from provisioner.remote.runner import Runner
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.conversation import Conversation, Lost, Operation, Reply

PATIENCE = 20.0  # seconds; only a failing test waits that long

values = (
    st.none() | st.booleans() | st.integers(-1, 3) | st.text(max_size=3) | st.just([]) | st.just({})
)
raw = st.binary(max_size=60)


def messages(kinds: tuple[str, ...], names: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    """Well framed messages of these kinds whose parts are of any type, or missing."""
    parts = st.dictionaries(st.sampled_from(names), values)
    kind = st.sampled_from(kinds) | values
    return st.builds(lambda t, rest: frames.message({"t": t, **rest}), kind, parts)


blobs = st.builds(frames.blob_piece, st.binary(min_size=32, max_size=32), raw, st.booleans())
answers = messages(
    ("hello", "locked", "start", "progress", "need", "result", "dropped", "alive", "fatal"),
    tuple("facts holder id done total label sha256 result seconds reason advice".split()),
)
orders = messages(
    ("op", "alive", "hello"),
    ("id", "sequence", "group", "module", "args", "check", "environment", "lock", "on_failure"),
)


class ScriptedRunner:
    """A pipe whose other end says these bytes once it is greeted, and then goes away."""

    def __init__(self, said: bytes) -> None:
        self._said = io.BytesIO(said)
        self._greeted = threading.Event()

    def write(self, data: bytes) -> None:
        self._greeted.set()

    def read(self, count: int) -> bytes:
        assert self._greeted.wait(PATIENCE)
        return self._said.read(count)

    def errors(self) -> str:
        return ""

    def close(self) -> None:
        self._greeted.set()


HELLO = frames.message({"t": "hello", "facts": {}})


@bounded(150)
@given(st.lists(answers | blobs | raw, max_size=4), st.booleans())
@example([frames.message({"t": "result", "id": 0, "result": [], "seconds": 0})], True)
@example([frames.message({"t": "result", "id": 0, "result": {}, "seconds": "x"})], True)
@example([frames.message({"t": "need", "sha256": "zz"})], True)
@example([frames.message({"t": "hello", "facts": 5})], False)
@example([frames.message({"t": "fatal", "reason": 5, "advice": None})], False)
def test_a_host_that_answers_nonsense_is_lost(said: list[bytes], greets: bool) -> None:
    greeting = frames.MARKER + (HELLO if greets else b"")
    talk = Conversation(ScriptedRunner(greeting + b"".join(said)), 0.0)
    try:
        talk.begin(None)
        talk.greet(exclusive=False)
    except Unreachable as error:
        assert isinstance(error.reason, str) and isinstance(error.advice, str)
        return
    assert isinstance(talk.facts, dict)
    future: Future[Reply] = talk.submit(Operation("ping", {}))
    try:
        reply = future.result(PATIENCE)
    except Lost as error:
        assert error.reason
    else:
        assert isinstance(reply.result, dict) and isinstance(reply.seconds, (int, float))
    talk.close()


class Wire(io.BytesIO):
    """What a runner says, kept when it closes."""

    def close(self) -> None:
        pass


@bounded(150)
@given(st.lists(orders | blobs | raw, max_size=5))
@example([frames.message({"t": "op"})])
@example([frames.message({"t": "op", "id": 1, "sequence": [], "module": None, "args": 1})])
@example([frames.message({"t": "alive"}), b"\0\0\0\0J"])
def test_a_controller_that_orders_nonsense_is_left(orders: list[bytes]) -> None:
    hello = frames.message({"t": "hello", "facts": False})
    said = Wire()
    runner = Runner(io.BytesIO(hello + b"".join(orders)), said)  # type: ignore[arg-type]
    ended = threading.Event()

    def serve() -> None:
        try:
            runner.serve()
        except Exception:
            pass  # `main` prints it: the controller shows its last line
        finally:
            runner.stop()
            runner.blobs.remove()
            ended.set()

    threading.Thread(target=serve, daemon=True).start()
    assert ended.wait(PATIENCE)
    read = frames.exact_reader(io.BytesIO(said.getvalue()).read)
    told: list[Any] = []
    with pytest.raises(frames.BrokenWire, match="the stream ended"):
        while True:
            told.append(frames.read_frame(read))
    assert all(kind == "J" for kind, _ in told)
