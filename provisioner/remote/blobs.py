"""Content that the controller holds and a host asks for by its SHA-256."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

from provisioner.remote.module import ModuleFailed

WAIT = 600.0  # seconds for a blob to come in whole


class BlobStore:
    """Blobs of this run, in a private directory that goes with it."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._directory: Path | None = None
        self._ready: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._closed = False

    def get(self, sha256: str) -> Path:
        """The file with that content, asking the controller when it isn't here yet."""
        with self._lock:
            first = sha256 not in self._ready
            ready = self._ready.setdefault(sha256, threading.Event())
        if first:
            self._ask(sha256)
        if not ready.wait(WAIT) or self._closed:
            raise ModuleFailed(f"content {sha256[:12]} did not arrive from the controller")
        path = self._path(sha256)
        if not path.exists():
            raise ModuleFailed(f"content {sha256[:12]} arrived damaged")
        return path

    def receive(self, digest: bytes, last: bool, data: bytes) -> None:
        """Take one piece; called by the reader thread, pieces of a blob come in order."""
        sha256 = digest.hex()
        path = self._path(sha256)
        with open(path, "ab") as file:
            file.write(data)
        if last:
            if hashlib.sha256(path.read_bytes()).hexdigest() != sha256:
                path.unlink()
            with self._lock:
                self._ready.setdefault(sha256, threading.Event()).set()

    def close(self) -> None:
        """Release whoever waits for a blob: the controller has gone."""
        self._closed = True
        with self._lock:
            for ready in self._ready.values():
                ready.set()

    def remove(self) -> None:
        """Delete the private directory."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _path(self, sha256: str) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="b9prov-"))
        return self._directory / sha256
