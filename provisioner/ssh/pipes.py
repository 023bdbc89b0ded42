"""The byte stream to a runner: an exec channel over SSH, or a local process."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable
from typing import Protocol

import paramiko
from fabric import Connection

_STDERR_KEPT = 8192  # bytes


class Pipe(Protocol):
    """A runner's standard input and output. `close` makes whoever reads or writes give up."""

    def write(self, data: bytes) -> None: ...
    def read(self, count: int) -> bytes: ...
    def errors(self) -> str: ...
    def close(self) -> None: ...


class _Tail:
    """Reads standard error all the time, since a full one would block the runner; keeps its end."""

    def __init__(self, read: Callable[[int], bytes], at_end: Callable[[], object]) -> None:
        self._read, self._at_end = read, at_end
        self._kept = b""
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def _collect(self) -> None:
        try:
            while piece := self._read(_STDERR_KEPT):
                self._kept = (self._kept + piece)[-_STDERR_KEPT:]
        finally:
            self._at_end()

    def text(self) -> str:
        """What came last; waits a moment for what is still under way."""
        self._thread.join(timeout=1.0)
        return self._kept.decode(errors="replace")


class ChannelPipe:
    """One exec channel of an SSH connection."""

    def __init__(self, connection: Connection, command: str, open_timeout: float = 30.0) -> None:
        transport: paramiko.Transport = connection.transport
        self._channel = transport.open_session(
            window_size=1 << 22, max_packet_size=1 << 15, timeout=open_timeout
        )
        self._channel.exec_command(command)
        self._errors = _Tail(self._channel.recv_stderr, at_end=lambda: None)

    def write(self, data: bytes) -> None:
        self._channel.sendall(data)

    def read(self, count: int) -> bytes:
        return self._channel.recv(count)

    def errors(self) -> str:
        """The end of standard error."""
        return self._errors.text()

    def close(self) -> None:
        self._channel.close()


class ProcessPipe:
    """A process on this machine: the runner of `delegate_to: localhost`.

    It has a session of its own, so that Ctrl-C on the terminal doesn't cut its operation short.
    """

    def __init__(self, argv: list[str]) -> None:
        self._socket, theirs = socket.socketpair()
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                argv, stdin=end, stdout=end, stderr=subprocess.PIPE, start_new_session=True
            )
        stderr = self._process.stderr
        assert stderr
        self._errors = _Tail(stderr.read1, at_end=self._process.wait)  # type: ignore[attr-defined]

    def write(self, data: bytes) -> None:
        self._socket.sendall(data)

    def read(self, count: int) -> bytes:
        return self._socket.recv(count)

    def errors(self) -> str:
        """The end of standard error."""
        return self._errors.text()

    def close(self) -> None:
        with contextlib.suppress(OSError):  # it may have ended before
            self._socket.shutdown(socket.SHUT_RDWR)
