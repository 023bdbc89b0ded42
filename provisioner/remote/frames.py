"""The wire between controller and runner: length-prefixed frames over one byte stream.

A frame is a 4-byte big-endian length, one byte of kind, and a body of that length:
`J` is a JSON message; `B` is a piece of a blob: 32 bytes of SHA-256, one byte that is 1 on the
last piece, and the data.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from typing import Any

MAX_FRAME = 16 * 1024 * 1024  # bytes; a longer one is a broken peer
BLOB_PIECE = 256 * 1024  # bytes
MARKER = b"B9PROV-RUNNER 1\n"

_HEADER = struct.Struct(">Ic")
_BLOB_HEADER = 33  # bytes
_PIECE = 1 << 18  # bytes
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_NO_FRAME = "something that is no frame came over the wire"


class BrokenWire(Exception):
    """The stream ended or holds something that is no frame."""


class NoFrame(BrokenWire):
    """It holds something that is no frame."""


def message(content: dict[str, Any]) -> bytes:
    """The frame of a JSON message."""
    body = _ENCODER.encode(content).encode()
    if len(body) > MAX_FRAME:
        raise BrokenWire(f"a message of {len(body)} bytes is over the limit of {MAX_FRAME}")
    return _HEADER.pack(len(body), b"J") + body


def blob_piece(digest: bytes, data: bytes, last: bool) -> bytes:
    """The frame of one piece of a blob."""
    return _HEADER.pack(len(data) + _BLOB_HEADER, b"B") + digest + (b"\1" if last else b"\0") + data


def read_frame(read: Callable[[int], bytes]) -> tuple[str, Any]:
    """`("J", message)` or `("B", (digest, last, data))` from an exact-count reader.

    Raises BrokenWire at the end of the stream or on garbage.
    """
    length, kind = _HEADER.unpack(read(_HEADER.size))
    if length > MAX_FRAME or kind not in b"JB":
        raise NoFrame(_NO_FRAME)
    body = read(length)
    if kind == b"J":
        return "J", _object(body)
    if length < _BLOB_HEADER:
        raise NoFrame(_NO_FRAME)
    return "B", (body[:32], body[32:33] == b"\1", body[_BLOB_HEADER:])


def _object(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError):
        raise NoFrame(_NO_FRAME) from None
    if not isinstance(content, dict):
        raise NoFrame(_NO_FRAME)
    return content


def exact_reader(read_some: Callable[[int], bytes], first: bytes = b"") -> Callable[[int], bytes]:
    """Turn a `read up to n` into a `read exactly n` that raises BrokenWire at the end.

    `first` was read before.
    """
    buffer = bytearray(first)

    def read(count: int) -> bytes:
        while len(buffer) < count:
            piece = read_some(_PIECE)
            if not piece:
                raise BrokenWire("the stream ended")
            buffer.extend(piece)
        data = bytes(buffer[:count])
        del buffer[:count]
        return data

    return read
