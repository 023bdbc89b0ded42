"""One HTTP/1.1 exchange with a deadline for the whole of it and a bound on what it may return.

Not `http.client`: importing it brings in `ssl` and `email`, a third of this agent's memory, and
its time-out starts anew with every byte that a slow peer sends.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Optional

_HEAD_LIMIT = 64 * 1024
_CHUNK_LINE_LIMIT = 1024


class HTTPProblem(Exception):
    """The peer could not be reached or did not speak HTTP as expected; the text says which."""


class Silence(HTTPProblem):
    """Nothing came in time, though there was a connection or the way to one."""


class Endpoint(NamedTuple):
    """Where a server listens. `ca` is the authority that its certificate must be of, as PEM; where
    it is empty, those that the system trusts."""

    host: str
    port: int
    tls: bool = False
    ca: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


# Opens what behaves as a connected socket, within so many seconds; raises OSError.
Dial = Optional[Callable[[float], Any]]  # noqa: UP045 (Python 3.9)


class Response(NamedTuple):
    """Status and body of an answer."""

    status: int
    body: bytes


def exchange(
    endpoint: Endpoint,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    timeout: float = 15.0,
    limit: int = 1 << 20,
    dial: Dial = None,
) -> Response:
    """Send one request and return its answer, all within `timeout` seconds and `limit` bytes.

    `dial` connects in place of a socket of this machine, as through a tunnel.
    """
    deadline = time.monotonic() + timeout
    explained = _explained(endpoint, f"no answer from {endpoint} within {timeout:g} s")
    with explained, dial(timeout) if dial else _connect(endpoint, timeout) as connection:
        connection.sendall(_request(endpoint, method, path, headers or {}, body))
        return _Reader(connection, deadline, limit).response()


def lines(
    endpoint: Endpoint,
    method: str,
    path: str,
    body: bytes = b"",
    idle: float = 15.0,
    limit: int = 1 << 16,
    headers: dict[str, str] | None = None,
    dial: Dial = None,
) -> Iterator[tuple[int, bytes]]:
    """Send one request; its status with each line of the answer, as they come.

    Gives up after `idle` seconds without a byte, and on a line longer than `limit` bytes.
    """
    explained = _explained(endpoint, f"nothing from {endpoint} for {idle:g} s")
    with explained, dial(idle) if dial else _connect(endpoint, idle) as connection:
        connection.sendall(_request(endpoint, method, path, headers or {}, body))
        reader = _Reader(connection, time.monotonic() + idle, limit, idle)
        yield from reader.lines()


@contextlib.contextmanager
def _explained(endpoint: Endpoint, silence: str) -> Iterator[None]:
    """Turn what sockets raise into an HTTPProblem; a time-out into a Silence of these words."""
    try:
        yield
    except socket.timeout:  # noqa: UP041 (an alias of TimeoutError only from Python 3.10 on)
        raise Silence(silence) from None
    except (OSError, EOFError) as problem:  # the latter of a channel whose connection has ended
        reason = getattr(problem, "strerror", "") or str(problem) or type(problem).__name__
        raise HTTPProblem(f"cannot reach {endpoint}: {reason}") from problem


def _connect(endpoint: Endpoint, timeout: float) -> socket.socket:
    connection = socket.create_connection((endpoint.host, endpoint.port), timeout)
    if not endpoint.tls:
        return connection
    import ssl  # 5 MB that a plain connection through the tunnel does not need

    try:
        context = ssl.create_default_context(cadata=endpoint.ca or None)
        return context.wrap_socket(connection, server_hostname=endpoint.host)
    except BaseException:
        connection.close()
        raise


def _request(
    endpoint: Endpoint, method: str, path: str, headers: dict[str, str], body: bytes
) -> bytes:
    fields = {"Host": str(endpoint), "Connection": "close", **headers}
    if body:
        fields.update({"Content-Type": "application/json", "Content-Length": str(len(body))})
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class _Reader:
    """Reads one response from a socket, never past the deadline nor beyond the limit.

    With `idle`, each byte that comes puts the deadline off to so many seconds from then.
    """

    def __init__(
        self, connection: socket.socket, deadline: float, limit: int, idle: float = 0.0
    ) -> None:
        self._connection = connection
        self._deadline = deadline
        self._limit = limit
        self._idle = idle
        self._buffer = bytearray()

    def response(self) -> Response:
        status, headers = self._head()
        return Response(status, self._body(headers))

    def lines(self) -> Iterator[tuple[int, bytes]]:
        """The status with each line of the body; one without an end may be the last."""
        status, headers = self._head()
        line = bytearray()
        for piece in self._pieces(headers):
            line += piece
            *whole, rest = bytes(line).split(b"\n")
            line = bytearray(rest)
            self._check(len(line))
            for each in whole:
                yield status, each
        yield status, bytes(line)

    def _pieces(self, headers: dict[str, str]) -> Iterator[bytes]:
        """The body as it comes."""
        if headers.get("transfer-encoding", "").lower() == "chunked":
            while chunk := self._chunk():
                yield chunk
        elif "content-length" in headers:
            yield self._body(headers)
        else:
            yield bytes(self._buffer)
            self._buffer.clear()
            while self._receive():
                yield bytes(self._buffer)
                self._buffer.clear()

    def _head(self) -> tuple[int, dict[str, str]]:
        status_line, *lines = self._until(b"\r\n\r\n", _HEAD_LIMIT).decode("latin-1").split("\r\n")
        parts = status_line.split(" ", 2)
        if not parts[0].startswith("HTTP/1.") or len(parts) < 2 or not parts[1].isdecimal():
            raise HTTPProblem("the answer is not HTTP")
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.strip().lower()] = value.strip()
        return int(parts[1]), headers

    def _body(self, headers: dict[str, str]) -> bytes:
        if headers.get("transfer-encoding", "").lower() == "chunked":
            return self._chunks()
        length = headers.get("content-length")
        if length is None:
            while self._receive():
                self._check(len(self._buffer))
            return bytes(self._buffer)
        if not length.isdecimal():
            raise HTTPProblem("the answer has a malformed length")
        self._check(int(length))
        return self._exactly(int(length))

    def _chunks(self) -> bytes:
        body = bytearray()
        while chunk := self._chunk(len(body)):
            body += chunk
        return bytes(body)

    def _chunk(self, before: int = 0) -> bytes:
        """The next chunk, empty at the end; `before` bytes of the body are here already."""
        size = self._until(b"\r\n", _CHUNK_LINE_LIMIT).split(b";")[0].strip()
        try:
            length = int(size, 16)
        except ValueError:
            raise HTTPProblem("the answer has a malformed chunk") from None
        if length <= 0:
            return b""
        self._check(before + length)
        return self._exactly(length + 2)[:-2]

    def _check(self, size: int) -> None:
        if size > self._limit:
            raise HTTPProblem(f"the answer is larger than {self._limit} bytes")

    def _until(self, mark: bytes, limit: int) -> bytes:
        while mark not in self._buffer:
            if len(self._buffer) > limit:
                raise HTTPProblem("the answer is not HTTP")
            self._more()
        found, _, rest = bytes(self._buffer).partition(mark)
        self._buffer = bytearray(rest)
        return found

    def _exactly(self, size: int) -> bytes:
        while len(self._buffer) < size:
            self._more()
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _more(self) -> None:
        if not self._receive():
            raise HTTPProblem("the connection was closed in the middle of the answer")

    def _receive(self) -> int:
        remaining = self._deadline - time.monotonic()
        if remaining <= 0:
            raise socket.timeout  # noqa: UP041
        self._connection.settimeout(remaining)
        data = self._connection.recv(65536)
        if self._idle:
            self._deadline = time.monotonic() + self._idle
        self._buffer += data
        return len(data)
