"""One HTTP/1.1 request from a socket, and the answer to it, all bounded.

Not `http.server`: it brings in `http.client`, `email` and `ssl`, a third of this agent's memory.
Each connection carries one request.
"""

from __future__ import annotations

import json
import socket
import time
from typing import Any, NamedTuple

HEAD_LIMIT = 16 * 1024  # bytes
BODY_LIMIT = 64 * 1024  # bytes
REASONS = {
    200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
    404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 409: "Conflict",
    411: "Length Required", 413: "Content Too Large", 415: "Unsupported Media Type",
    429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 503: "Service Unavailable",
}  # fmt: skip
JSON = "application/json"
_HEX = b"0123456789abcdefABCDEF"


class Refused(Exception):
    """The request is answered with an error: its status, one line, further headers."""

    def __init__(self, status: int, message: str, **headers: str) -> None:
        self.status, self.message = status, message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}
        super().__init__(message)


class Request(NamedTuple):
    """`path` is decoded, `query` is what stands behind it; the names of `headers` are in lower
    case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""
    query: str = ""

    def json(self) -> dict[str, Any]:
        """The body, which must be a JSON object. Raises Refused."""
        kind = self.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != JSON:
            raise Refused(415, f"the body must be {JSON}")
        try:
            content = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is not JSON") from None
        if not isinstance(content, dict):
            raise Refused(400, "the body must be a JSON object")
        return content


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    body: bytes
    type: str = JSON
    headers: dict[str, str] = {}  # noqa: RUF012 (never written to)

    def encoded(self) -> bytes:
        """As it goes on the wire."""
        return head(self.status, self.type, {**self.headers, "Content-Length": len(self.body)}) + (
            self.body
        )


def json_answer(content: Any, status: int = 200, **headers: str) -> Answer:
    """An answer of JSON."""
    return Answer(status, json.dumps(content).encode() + b"\n", JSON, headers)


def error_answer(problem: Refused) -> Answer:
    """What a refused request gets."""
    body = json.dumps({"error": problem.message}).encode() + b"\n"
    return Answer(problem.status, body, JSON, problem.headers)


def head(status: int, kind: str, headers: dict[str, Any]) -> bytes:
    """The beginning of an answer, to the empty line."""
    fields = {
        "Content-Type": kind,
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "close",
        **headers,
    }
    lines = [f"HTTP/1.1 {status} {REASONS[status]}"]
    lines += [f"{name}: {value}" for name, value in fields.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def read_request(connection: socket.socket, seconds: float) -> Request:
    """The request that comes within so many seconds. Raises Refused, or OSError when it is cut."""
    deadline = time.monotonic() + seconds
    data = b""
    while b"\r\n\r\n" not in data:
        if len(data) > HEAD_LIMIT:
            raise Refused(431, "the head of the request is too long")
        data += _more(connection, deadline)
    top, _, rest = data.partition(b"\r\n\r\n")
    request = _parsed(top)
    length = _length(request.headers)
    while len(rest) < length:
        rest += _more(connection, deadline)
    return request._replace(body=rest[:length])


def _more(connection: socket.socket, deadline: float) -> bytes:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise Refused(408, "the request took too long")
    connection.settimeout(remaining)
    try:
        data = connection.recv(65536)
    except socket.timeout:  # noqa: UP041 (an alias of TimeoutError only from Python 3.10 on)
        raise Refused(408, "the request took too long") from None
    if not data:
        raise ConnectionResetError("the request was cut")
    return data


def _parsed(top: bytes) -> Request:
    first, *lines = top.decode("latin-1").split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[0].isalpha():
        raise Refused(400, "not a request of HTTP/1.1")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or name in headers:
            raise Refused(400, "a malformed or repeated header")
        headers[name] = value.strip()
    query = words[1].partition("#")[0].partition("?")[2]
    return Request(words[0], _path(words[1]), headers, query=query)


def _path(target: str) -> str:
    raw = target.partition("?")[0].partition("#")[0]
    if not raw.startswith("/"):
        raise Refused(400, "the path must begin with /")
    try:
        return _unquoted(raw.encode("latin-1")).decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, "the path is not UTF-8") from None


def _unquoted(raw: bytes) -> bytes:
    """Without its percent signs; those before anything but two digits stay."""
    first, *parts = raw.split(b"%")
    decoded = [first]
    for part in parts:
        code = part[:2]
        is_code = len(code) == 2 and all(digit in _HEX for digit in code)
        decoded.append(bytes([int(code, 16)]) + part[2:] if is_code else b"%" + part)
    return b"".join(decoded)


def _length(headers: dict[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise Refused(411, "the body needs a Content-Length")
    text = headers.get("content-length", "0")
    if not (text.isascii() and text.isdecimal()):
        raise Refused(400, "a malformed Content-Length")
    if len(text) > 10 or int(text) > BODY_LIMIT:
        raise Refused(413, f"the body is longer than {BODY_LIMIT} bytes")
    return int(text)
