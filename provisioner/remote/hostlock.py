"""One run at a time on a host: a flock that ends with its process, whatever happens to it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable

POLL = 0.2  # seconds between tries; flock has no wait with a deadline


class Held(Exception):
    """Another run holds the lock; the message says who and since when."""

    advice = "wait for it to end, or give it longer with --lock-wait SECONDS"


class HostLock:
    """An exclusive lock on `path`, whose content says who holds it."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._descriptor = -1

    def acquire(
        self,
        holder: str,
        wait: float,
        on_wait: Callable[[str], None] = lambda holder: None,
        give_up: Callable[[], bool] = lambda: False,
    ) -> None:
        """Take the lock within `wait` seconds, or raise Held. `on_wait` is called at most once."""
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        deadline = time.monotonic() + wait
        told = False
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                other = os.pread(descriptor, 500, 0).decode(errors="replace").strip()
                if time.monotonic() >= deadline or give_up():
                    os.close(descriptor)
                    raise Held(f"another run is at work here: {other or 'unknown'}") from None
                if not told:
                    told = True
                    on_wait(other)
                time.sleep(POLL)
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{holder}, since {since}\n".encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; the end of the process does so too."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
