"""The wire: whatever comes over it is a frame or BrokenWire, and takes bounded memory."""

from __future__ import annotations

import json
import struct
from typing import Any

import pytest
from fuzzing import bounded
from hypothesis import example, given
from hypothesis import strategies as st

from provisioner.remote import frames
from provisioner.remote.frames import BrokenWire, exact_reader, read_frame

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
nested = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=5,
)
contents = st.dictionaries(st.text(max_size=5), nested, max_size=3)
pieces = st.tuples(st.binary(min_size=32, max_size=32), st.booleans(), st.binary(max_size=300))
wholes = st.lists(contents | pieces, max_size=4)


class Wire:
    """Brings `data` in pieces of these sizes, and notes how much was asked for at a time."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self.data, self.sizes, self.asked = data, sizes, [0]

    def read_some(self, count: int) -> bytes:
        self.asked.append(count)
        size = min(count, self.sizes.pop() if self.sizes else count)
        piece, self.data = self.data[:size], self.data[size:]
        return piece

    def frames(self) -> list[Any]:
        """All frames before the wire broke, as it must in the end."""
        read = exact_reader(self.read_some)
        found: list[Any] = []
        with pytest.raises(BrokenWire):
            while True:
                found.append(read_frame(read))
        return found


def encoded(whole: Any) -> bytes:
    if isinstance(whole, dict):
        return frames.message(whole)
    digest, last, data = whole
    return frames.blob_piece(digest, data, last)


def header(length: int, kind: bytes = b"J") -> bytes:
    return struct.pack(">Ic", length, kind)


def framed(body: bytes, kind: bytes = b"J") -> bytes:
    return header(len(body), kind) + body


@bounded(400)
@given(st.binary(max_size=200), st.lists(st.integers(1, 50)))
@example(b"", [])
@example(framed(b"not JSON"), [])
@example(framed(b"\xff\xfe\xfd"), [])
@example(framed(b'"no object"'), [])
@example(framed(b"9" * 5000), [])
@example(framed(b"[" * 200_000), [])
@example(framed(b'{"a":' * 200_000), [])
@example(framed(b"too short a piece", b"B"), [])
@example(framed(b"x" * 33, b"\xff"), [])
def test_whatever_comes_is_a_frame_or_broken(data: bytes, sizes: list[int]) -> None:
    for kind, content in Wire(data, sizes).frames():
        if kind == "J":
            assert isinstance(content, dict)
        else:
            digest, last, piece = content
            assert (kind, len(digest), type(last), type(piece)) == ("B", 32, bool, bytes)


@bounded(200)
@given(st.binary(max_size=100), st.sampled_from((b"J", b"B")))
def test_any_body_of_a_frame(body: bytes, kind: bytes) -> None:
    wire = Wire(framed(body, kind), [])
    assert len(wire.frames()) <= 1


@bounded(200)
@given(wholes, st.lists(st.integers(1, 50)))
def test_frames_come_through_however_they_are_split(whole: list[Any], sizes: list[int]) -> None:
    wire = Wire(b"".join(map(encoded, whole)), sizes)
    assert [content for _, content in wire.frames()] == whole


@bounded(200)
@given(wholes, st.data())
def test_what_is_cut_off_ends_with_its_last_frame(whole: list[Any], data: st.DataObject) -> None:
    encodings = [encoded(each) for each in whole]
    stream = b"".join(encodings)
    cut = data.draw(st.integers(0, len(stream)))
    complete = 0
    while complete < len(whole) and len(b"".join(encodings[: complete + 1])) <= cut:
        complete += 1
    found = Wire(stream[:cut], []).frames()
    assert [content for _, content in found] == whole[:complete]


@bounded(100)
@given(st.integers(frames.MAX_FRAME + 1, 2**32 - 1), st.sampled_from((b"J", b"B")))
def test_a_length_beyond_the_limit_is_refused_before_more_is_read(length: int, kind: bytes) -> None:
    wire = Wire(header(length, kind) + b"x" * 100, [])
    assert wire.frames() == []
    assert len(wire.asked) == 2  # none at first, then the header and what came with it


@bounded(20)
@given(st.integers(1, frames.MAX_FRAME))
def test_a_length_that_never_comes_takes_no_memory(length: int) -> None:
    wire = Wire(header(length) + b"x" * min(length - 1, 1000), [])
    assert wire.frames() == []
    assert max(wire.asked) <= 1 << 20


@bounded(200)
@given(contents)
def test_what_is_sent_is_plain_ascii_json(content: dict[str, Any]) -> None:
    body = frames.message(content)[5:]
    assert json.loads(body.decode("ascii")) == content
