"""Whether apt or dpkg is at work on this host, and which process that is."""

from __future__ import annotations

import fcntl
import os
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from provisioner.remote import sockets

LOCKS = (
    "/var/lib/dpkg/lock-frontend",
    "/var/lib/dpkg/lock",
    "/var/lib/apt/lists/lock",
    "/var/cache/apt/archives/lock",
)
_FLOCK = "hhqqi"
_INTERVAL = 0.25


@dataclass(frozen=True)
class Held:
    """A lock file that a process holds; `holder` names it as well as we may know it."""

    path: str
    holder: str

    def __str__(self) -> str:
        return f"{self.path} is held by {self.holder}"


def held(paths: Sequence[str] | None = None) -> Held | None:
    """The first lock that is held, or None. Asking takes no lock."""
    for path in LOCKS if paths is None else paths:
        pid = _holder(path)
        if pid is not None:
            return Held(path, str(sockets.owner(pid)) if pid > 0 else "an unknown process")
    return None


def wait_until_free(timeout: float, paths: Sequence[str] | None = None) -> Held | None:
    """Wait up to `timeout` seconds; returns the lock that is still held then."""
    deadline = time.monotonic() + timeout
    while True:
        found = held(paths)
        if found is None or time.monotonic() >= deadline:
            return found
        # waiting in the kernel would take the lock, and that is apt's to do
        time.sleep(min(_INTERVAL, max(0.0, deadline - time.monotonic())))


def _holder(path: str) -> int | None:
    """The process that holds the POSIX lock of a file; 0 when that can't be seen from here."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        question = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind, _, _, _, pid = struct.unpack(_FLOCK, fcntl.fcntl(descriptor, fcntl.F_GETLK, question))
        return None if kind == fcntl.F_UNLCK else int(pid)
    except OSError:
        return None
    finally:
        os.close(descriptor)
