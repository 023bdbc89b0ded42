"""Runs a program on this host: deadline, captured output, environment, working directory."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

LOCALE = {"LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"}
CAPTURE_LIMIT = 2 * 1024 * 1024
"""Bytes kept of each of stdout and stderr: the beginning and the end, the middle goes."""

_CHUNK = 65536
_REAP_TIMEOUT = 2.0


class Outcome(NamedTuple):
    """How a program ended; `rc` is negative for a signal, 127 when it could not be started."""

    rc: int
    stdout: str
    stderr: str
    seconds: float
    timed_out: bool = False
    started: bool = True

    @property
    def said(self) -> str:
        """What it said last, for a message: stderr, or stdout when that is empty."""
        return (self.stderr.strip() or self.stdout.strip())[-2000:]


class _Captured:
    """The first and the last half of CAPTURE_LIMIT bytes of a stream."""

    def __init__(self) -> None:
        self.head = bytearray()
        self.tail = bytearray()
        self.lost = 0

    def add(self, data: bytes) -> None:
        room = CAPTURE_LIMIT // 2 - len(self.head)
        self.head += data[: max(room, 0)]
        self.tail += data[max(room, 0) :]
        if len(self.tail) > CAPTURE_LIMIT:
            self._trim()

    def _trim(self) -> None:
        excess = len(self.tail) - CAPTURE_LIMIT // 2
        if excess > 0:
            self.lost += excess
            del self.tail[:excess]

    def text(self) -> str:
        self._trim()
        gap = f"\n[… {self.lost} bytes left out …]\n".encode() if self.lost else b""
        return bytes(self.head + gap + self.tail).decode("utf-8", "replace")


def run(
    command: Sequence[str] | str,
    *,
    timeout: float | None = None,
    stdin: bytes | None = None,
    cwd: str | None = None,
    env: Mapping[str, str] | None = None,
    executable: str | None = None,
) -> Outcome:
    """Run `command`: a list is executed as it is, a string by a shell (`executable` or /bin/sh).

    `env` is added to this process's environment, in which the locale is C.UTF-8. What still
    runs at `timeout` is killed with its whole process group. A program left in the background
    does not keep us waiting. Bytes that are not UTF-8 become U+FFFD.
    """
    started = time.monotonic()
    try:
        child = subprocess.Popen(
            command,
            shell=isinstance(command, str),
            executable=executable,
            stdin=subprocess.DEVNULL if stdin is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env={**os.environ, **LOCALE, **(env or {})},
            start_new_session=True,
        )
    except OSError as error:
        reason = f"{error.strerror}: {error.filename}"
        return Outcome(127, "", reason, time.monotonic() - started, started=False)
    captured = (_Captured(), _Captured())
    finished = False
    try:
        finished = _converse(child, stdin or b"", captured, started, timeout)
    finally:
        if not finished:
            kill_group(child.pid)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(timeout=_REAP_TIMEOUT)
    seconds = time.monotonic() - started
    # one that hangs in the kernel (a broken driver) doesn't even die of SIGKILL
    rc = -signal.SIGKILL if child.returncode is None else child.returncode
    return Outcome(rc, captured[0].text(), captured[1].text(), seconds, not finished)


def kill_group(pid: int) -> None:
    """Kill the process group that `run` made for the program `pid`."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _converse(
    child: subprocess.Popen[bytes],
    stdin: bytes,
    captured: tuple[_Captured, _Captured],
    started: float,
    timeout: float | None,
) -> bool:
    """Feed and read the child until it has ended; False when the deadline came first."""
    assert child.stdout is not None and child.stderr is not None
    rest = memoryview(stdin)
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for pipe, into in ((child.stdout, captured[0]), (child.stderr, captured[1])):
            os.set_blocking(pipe.fileno(), False)
            selector.register(pipe, selectors.EVENT_READ, into)
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin, selectors.EVENT_WRITE)
        pidfd = _pidfd(child.pid)
        if pidfd is not None:
            stack.callback(os.close, pidfd)
            selector.register(pidfd, selectors.EVENT_READ)
        while True:
            wait = 0.02 if pidfd is None else None  # kernels before 5.3 can't tell us of the end
            if timeout is not None:
                left = started + timeout - time.monotonic()
                if left <= 0:
                    return False
                wait = left if wait is None else min(wait, left)
            # asked before the pipes are read: all that it wrote is then in them
            ended = child.poll() is not None
            events = selector.select(0 if ended else wait)
            active = False
            for key, _ in events:
                if key.fileobj is child.stdin:
                    rest = _feed(child, selector, rest)
                elif isinstance(key.data, _Captured):
                    active = True
                    data = os.read(key.fd, _CHUNK)
                    key.data.add(data)
                    if not data:
                        selector.unregister(key.fileobj)
            if ended and not active:
                return True


def _feed(
    child: subprocess.Popen[bytes], selector: selectors.BaseSelector, rest: memoryview
) -> memoryview:
    assert child.stdin is not None
    try:
        rest = rest[os.write(child.stdin.fileno(), rest[:_CHUNK]) :] if rest else rest
    except BrokenPipeError:
        rest = rest[:0]
    if not rest:
        selector.unregister(child.stdin)
        child.stdin.close()
    return rest


def _pidfd(pid: int) -> int | None:
    opener = getattr(os, "pidfd_open", None)
    if opener is None:
        return None
    try:
        return int(opener(pid))
    except OSError:
        return None
