"""The byte stream to a runner: an exec channel over SSH, or a local process."""

from __future__ import annotations

import subprocess
import threading
from typing import Protocol

import paramiko
from fabric import Connection

_STDERR_KEPT = 8192  # bytes


class Pipe(Protocol):
    """A runner's standard input and output."""

    def write(self, data: bytes) -> None: ...
    def read(self, count: int) -> bytes: ...
    def errors(self) -> str: ...
    def close(self) -> None: ...


class ChannelPipe:
    """One exec channel of an SSH connection."""

    def __init__(self, connection: Connection, command: str, open_timeout: float = 30.0) -> None:
        transport: paramiko.Transport = connection.transport
        self._channel = transport.open_session(
            window_size=1 << 22, max_packet_size=1 << 15, timeout=open_timeout
        )
        self._channel.exec_command(command)

    def write(self, data: bytes) -> None:
        self._channel.sendall(data)

    def read(self, count: int) -> bytes:
        return self._channel.recv(count)

    def errors(self) -> str:
        """The tail of standard error so far."""
        pieces = b""
        while self._channel.recv_stderr_ready() and len(pieces) < _STDERR_KEPT:
            pieces += self._channel.recv_stderr(_STDERR_KEPT)
        return pieces.decode(errors="replace")

    def close(self) -> None:
        self._channel.close()


class ProcessPipe:
    """A process on this machine: the runner of `delegate_to: localhost`."""

    def __init__(self, argv: list[str]) -> None:
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        self._errors = b""
        self._drain = threading.Thread(target=self._collect_errors, daemon=True)
        self._drain.start()

    def _collect_errors(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._errors = (self._errors + line)[-_STDERR_KEPT:]

    def write(self, data: bytes) -> None:
        assert self._process.stdin
        self._process.stdin.write(data)
        self._process.stdin.flush()

    def read(self, count: int) -> bytes:
        assert self._process.stdout
        return self._process.stdout.read1(count)  # type: ignore[attr-defined,no-any-return]

    def errors(self) -> str:
        self._drain.join(timeout=1.0)
        return self._errors.decode(errors="replace")

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            assert stream
            stream.close()
        try:
            self._process.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
