"""A conversation with the runner of one host: operations go out ahead, results come back."""

from __future__ import annotations

import contextlib
import getpass
import io
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.remote import frames
from provisioner.ssh.bootstrap import KEPT_DIR, program
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.pipes import Pipe

GREETING_LIMIT = 60.0  # seconds from the start of the runner to its facts, lock not counted
ALIVE_EVERY = 10.0  # seconds between signs of life
SILENCE_LIMIT = 60.0  # seconds without a frame; the runner gives a sign of life every 10
WINDOW = 64  # operations sent ahead of their results
LOCK_PATH = f"{KEPT_DIR}/lock"
_NOISE_KEPT = 2000  # bytes
_PIECE = 1 << 16  # bytes


class Lost(Unreachable):
    """The conversation broke off."""


class Dropped(Exception):
    """The runner left the operation out, since an earlier one failed."""


class Unsendable(Exception):
    """The operation's arguments are too long, or nothing that JSON has."""


@dataclass(frozen=True)
class Operation:
    """One call of a task module on a host.

    A failure stops what was sent behind it in the same `sequence`, but for operations of the same
    `group`; with `keep_going` it stops nothing. `exclusive`: take the host's lock for just this
    operation. `blobs` maps SHA-256 to content that the host may ask for.
    """

    module: str
    arguments: dict[str, Any]
    check: bool = False
    diff: bool = False
    sequence: int = 0
    group: int | None = None
    keep_going: bool = False
    exclusive: bool = False
    environment: dict[str, str] = field(default_factory=dict)
    blobs: dict[str, Path | bytes] = field(default_factory=dict)
    on_start: Callable[[], None] = lambda: None
    on_progress: Callable[[int, int, str], None] = lambda done, total, label: None


@dataclass(frozen=True)
class Reply:
    """A module's result, and how long it took on the host in seconds."""

    result: dict[str, Any]
    seconds: float


@dataclass
class _Sent:
    operation: Operation
    future: Future[Reply]


class Conversation:
    """Thread-safe. `begin`, then `greet`; then there are `facts`, and operations may be sent."""

    def __init__(self, pipe: Pipe, lock_wait: float) -> None:
        self.facts: dict[str, Any] = {}
        self._pipe = pipe
        self._lock_wait = lock_wait
        self._numbers = itertools.count()
        self._sent: dict[int, _Sent] = {}
        self._blobs: dict[str, Path | bytes] = {}
        self._state = threading.Condition()
        self._outbox = bytearray()
        self._posted = threading.Condition()
        self._write_lock = threading.Lock()
        self._greeted = threading.Event()
        self._hello_sent = threading.Event()
        self._lost: Unreachable | None = None
        self._heard = time.monotonic()
        self._closing = threading.Event()

    def begin(self, password: str | None) -> None:
        """Start the runner, which does nothing on the host before it is greeted."""
        for target in (self._read_loop, self._send_loop, self._watch):
            threading.Thread(target=target, daemon=True).start()
        self._write((password + "\n").encode() if password else b"")
        self._write(program())

    def greet(self, exclusive: bool, on_wait: Callable[[str], None] = lambda holder: None) -> None:
        """Have the host's facts. `exclusive` holds the host's lock to the end.

        Raises Unreachable when sudo, Python or the lock say no.
        """
        self._on_wait = on_wait
        hello: dict[str, Any] = {"t": "hello"}
        if exclusive:
            hello["lock"] = self._lock_request()
        self._write(frames.message(hello))
        self._hello_sent.set()
        deadline = GREETING_LIMIT + (self._lock_wait if exclusive else 0.0)
        if not self._greeted.wait(deadline):
            self._lose(Lost("the runner did not start in time", "is the host overloaded?"))
        if self._lost:
            raise self._lost

    def _lock_request(self) -> dict[str, Any]:
        holder = f"{getpass.getuser()}@{socket.gethostname()}, process {os.getpid()}"
        return {"path": LOCK_PATH, "holder": holder, "wait": self._lock_wait}

    def submit(self, operation: Operation) -> Future[Reply]:
        """Send an operation; blocks while too many are under way. Raises Unsendable.

        The future raises Dropped when an earlier operation failed, Lost when the host is gone.
        """
        future: Future[Reply] = Future()
        number = next(self._numbers)
        try:
            data = frames.message(self._request(number, operation))
        except (frames.BrokenWire, TypeError, ValueError) as error:
            raise Unsendable(f"{operation.module}: the arguments can't be sent: {error}") from None
        with self._state:
            self._state.wait_for(lambda: self._lost or len(self._sent) < WINDOW)
            if self._lost:
                future.set_exception(self._lost)
                return future
            self._sent[number] = _Sent(operation, future)
            self._blobs.update(operation.blobs)
        with self._posted:
            self._outbox += data
            self._posted.notify()
        return future

    def _request(self, number: int, operation: Operation) -> dict[str, Any]:
        content: dict[str, Any] = {
            "t": "op",
            "id": number,
            "sequence": operation.sequence,
            "group": operation.group,
            "module": operation.module,
            "args": operation.arguments,
            "check": operation.check,
            "diff": operation.diff,
            "on_failure": "go" if operation.keep_going else "stop",
            "environment": operation.environment,
        }
        if operation.exclusive:
            content["lock"] = self._lock_request()
        return content

    def close(self) -> None:
        """End the conversation; an operation that runs is finished by the host on its own."""
        self._lose(Lost("the run was ended", ""))

    def _write(self, data: bytes) -> None:
        # a failure is left to the reader: it notices the end of the stream and says why
        with self._write_lock, contextlib.suppress(OSError, EOFError, ValueError):
            self._pipe.write(data)

    def _read_loop(self) -> None:
        noise = bytearray()
        try:
            behind = _skip_to_marker(self._pipe.read, noise)
            read = frames.exact_reader(self._pipe.read, behind)
            while True:
                kind, content = frames.read_frame(read)
                self._heard = time.monotonic()
                if kind == "J":
                    self._handle(content)
        except frames.NoFrame as error:
            self._lose(self._diagnose(str(error)))
        except (frames.BrokenWire, OSError, EOFError, ValueError):
            self._lose(self._diagnose(noise.decode(errors="replace")))
        except Exception as error:
            # whatever it is, nobody must wait for what this thread would have read
            self._lose(Lost(f"the answer can't be handled: {type(error).__name__}: {error}", ""))

    def _handle(self, content: dict[str, Any]) -> None:
        _refuse_malformed(content)
        kind = content["t"]
        if kind == "hello":
            self.facts = content["facts"]
            self._greeted.set()
        elif kind == "locked":
            self._on_wait(content["holder"])
        elif kind == "fatal":
            self._lose(Lost(content["reason"], content["advice"]))
        elif kind == "need":
            sha256, offset = content["sha256"], content["offset"]
            threading.Thread(
                target=self._send_blob, args=(sha256, self._blobs[sha256], offset), daemon=True
            ).start()
        elif kind in ("start", "progress", "result", "dropped"):
            self._advance(kind, content)

    def _advance(self, kind: str, content: dict[str, Any]) -> None:
        with self._state:
            sent = self._sent.get(content["id"])
            if sent and kind in ("result", "dropped"):
                del self._sent[content["id"]]
                self._state.notify_all()
        if sent is None:
            return
        if kind == "start":
            sent.operation.on_start()
        elif kind == "progress":
            sent.operation.on_progress(content["done"], content["total"], content["label"])
        elif kind == "dropped":
            sent.future.set_exception(Dropped())
        else:
            sent.future.set_result(Reply(content["result"], content["seconds"]))

    def _send_blob(self, sha256: str, content: Path | bytes, offset: int) -> None:
        digest = bytes.fromhex(sha256)
        try:
            with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
                file.seek(offset)
                while not self._closing.is_set() and (data := file.read(frames.BLOB_PIECE)):
                    self._write(frames.blob_piece(digest, data, False))
        except (OSError, ValueError):
            pass  # the file has gone: the host finds what it has got damaged
        self._write(frames.blob_piece(digest, b"", True))

    def _send_loop(self) -> None:
        """Send operations, those at once that were submitted meanwhile; or tell that we live."""
        self._hello_sent.wait()
        while not self._closing.is_set():
            with self._posted:
                self._posted.wait_for(lambda: self._outbox or self._closing.is_set(), ALIVE_EVERY)
                data, self._outbox = bytes(self._outbox), bytearray()
            self._write(data or frames.message({"t": "alive"}))

    def _watch(self) -> None:
        """Notice when the runner doesn't live any more."""
        while not self._closing.wait(ALIVE_EVERY):
            if self._greeted.is_set() and time.monotonic() - self._heard > SILENCE_LIMIT:
                self._lose(
                    Lost(
                        f"no sign of life for {SILENCE_LIMIT:g} s",
                        "check the network; then run the same command again, it goes on",
                    )
                )

    def _lose(self, why: Unreachable) -> None:
        with self._state:
            if self._lost is None:
                self._lost = why
            futures = [sent.future for sent in self._sent.values()]
            self._sent.clear()
            self._state.notify_all()
        self._closing.set()
        self._hello_sent.set()
        with self._posted:
            self._posted.notify()
        self._pipe.close()
        for future in futures:
            future.set_exception(self._lost)
        self._greeted.set()

    def _diagnose(self, said: str) -> Unreachable:
        """Why the stream ended, from what came on standard error, or `said` before it did."""
        errors = self._pipe.errors().strip() or said.strip()
        if self._greeted.is_set():
            return Lost(
                "the connection was lost" + (f": {_last_line(errors)}" if errors else ""),
                "run the same command again: it goes on where this run stopped",
            )
        for symptom, reason, advice in _SYMPTOMS:
            if symptom in errors:
                return Lost(reason, advice)
        return Lost(
            f"the runner could not be started: {_last_line(errors) or 'no reason given'}",
            "try: ssh HOST sudo -n python3 -V",
        )


_NO_SUDO = "give the user passwordless sudo, or set become_password in the inventory"
_SYMPTOMS = (
    ("a password is required", "sudo wants a password", _NO_SUDO),
    ("a terminal is required", "sudo wants a password", _NO_SUDO),
    ("no password was provided", "sudo refused the password", "correct become_password"),
    ("Sorry, try again", "sudo refused the password", "correct become_password"),
    ("incorrect password", "sudo refused the password", "correct become_password"),
    ("not in the sudoers file", "the user may not use sudo", _NO_SUDO),
    ("not allowed to execute", "the user may not run python3 by sudo", _NO_SUDO),
    ("sudo: not found", "sudo is not installed", "install sudo, or log in as root"),
    ("sudo: command not found", "sudo is not installed", "install sudo, or log in as root"),
    (
        "must have a tty",
        "sudo wants a terminal (requiretty)",
        "write `Defaults:USER !requiretty` into a file in /etc/sudoers.d on the host",
    ),
    (
        "assword has expired",
        "the user's password on the host has expired",
        "log in and change it, or let it never expire: chage -M -1 USER",
    ),
    (
        "python3 is not installed",
        "python3 is not installed on the host",
        "install it: apt-get install -y python3",
    ),
    (
        "at least 3.9 is needed",
        "python3 on the host is older than 3.9",
        "install a newer python3; b9prov supports Debian 11, Ubuntu 22.04 and newer",
    ),
)


# of the messages that a runner sends; others would upset whoever works with them
_SHAPES: dict[str, dict[str, type | tuple[type, ...]]] = {
    "alive": {},
    "hello": {"facts": dict},
    "locked": {"holder": str},
    "fatal": {"reason": str, "advice": str},
    "need": {"sha256": str, "offset": int},
    "start": {"id": int},
    "progress": {"id": int, "done": int, "total": int, "label": str},
    "result": {"id": int, "result": dict, "seconds": (int, float)},
    "dropped": {"id": int},
}


def _refuse_malformed(content: dict[str, Any]) -> None:
    shape = _SHAPES.get(str(content.get("t")))
    if shape is None or not all(isinstance(content.get(key), kind) for key, kind in shape.items()):
        raise frames.NoFrame("a message came that no runner sends")


def _last_line(text: str) -> str:
    lines = text.splitlines()
    return lines[-1] if lines else ""


def _skip_to_marker(read_some: Callable[[int], bytes], noise: bytearray) -> bytes:
    """Pass over what a login shell may print before the runner starts; what came behind the marker.

    The end of what was passed over is in `noise` when the stream ends before the runner starts.
    """
    while frames.MARKER not in noise:
        del noise[:-_NOISE_KEPT]
        piece = read_some(_PIECE)
        if not piece:
            raise frames.BrokenWire("the stream ended")
        noise += piece
    behind = noise.partition(frames.MARKER)[2]
    noise.clear()
    return bytes(behind)
