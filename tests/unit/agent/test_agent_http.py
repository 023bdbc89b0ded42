"""The small HTTP client: framings, deadlines and limits."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from provisioner.agent.http import Endpoint, HTTPProblem, exchange

Play = Callable[[socket.socket], None]


@pytest.fixture
def playing() -> Iterator[Callable[[Play], Endpoint]]:
    listeners: list[socket.socket] = []

    def start(play: Play) -> Endpoint:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                try:
                    play(connection)
                except OSError:
                    return  # the client had enough, as it should

        threading.Thread(target=run, daemon=True).start()
        return Endpoint("127.0.0.1", listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.close()


def sending(data: bytes) -> Play:
    return lambda connection: connection.sendall(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200\r\ncontent-length:5\r\n\r\nhello, and more",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n"
        b"2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
    ],
)
def test_framings(playing: Callable[[Play], Endpoint], data: bytes) -> None:
    assert exchange(playing(sending(data)), "GET", "/", timeout=5) == (200, b"hello")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "closed in the middle"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "not HTTP"),
        (b"HTTP/1.1 abc\r\n\r\n", "not HTTP"),
        (b"x" * 200_000, "not HTTP"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "closed in the middle"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "malformed length"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "larger than"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "malformed chunk"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", "larger than"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * (2 << 20), "larger than"),
    ],
)
def test_bad_answers(playing: Callable[[Play], Endpoint], data: bytes, message: str) -> None:
    with pytest.raises(HTTPProblem, match=message):
        exchange(playing(sending(data)), "GET", "/", timeout=5)


def test_a_dripping_peer_does_not_outlast_the_deadline(
    playing: Callable[[Play], Endpoint],
) -> None:
    def drip(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        for _ in range(100_000):
            connection.sendall(b"x")
            time.sleep(0.02)

    began = time.monotonic()
    with pytest.raises(HTTPProblem, match=r"no answer .* within 0\.5 s"):
        exchange(playing(drip), "GET", "/", timeout=0.5)
    assert time.monotonic() - began < 2


def test_endless_chunks_are_bounded(playing: Callable[[Play], Endpoint]) -> None:
    def endless(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            connection.sendall(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    with pytest.raises(HTTPProblem, match="larger than"):
        exchange(playing(endless), "GET", "/", timeout=10)


def test_an_untrusted_certificate_is_a_problem(playing: Callable[[Play], Endpoint]) -> None:
    plain = playing(sending(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
    with pytest.raises(HTTPProblem, match="cannot reach"):
        exchange(Endpoint(plain.host, plain.port, tls=True), "GET", "/", timeout=5)


def test_an_unknown_name_is_a_problem() -> None:
    with pytest.raises(HTTPProblem, match=r"cannot reach gateway\.invalid:1994"):
        exchange(Endpoint("gateway.invalid", 1994), "GET", "/", timeout=5)


def test_a_way_that_has_ended_is_a_problem() -> None:
    class Ended(socket.socket):
        def sendall(self, data: Any, flags: int = 0) -> None:
            raise EOFError

    with pytest.raises(HTTPProblem, match=r"cannot reach .*: EOFError"):
        exchange(Endpoint("127.0.0.1", 1), "GET", "/", dial=lambda wait: Ended())
