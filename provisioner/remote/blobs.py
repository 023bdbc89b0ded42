"""Content that the controller holds and a host asks for by its SHA-256."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from provisioner.remote import oserrors
from provisioner.remote.module import ModuleFailed

STALL_LIMIT = 120.0  # seconds without a piece of a blob, after which it counts as lost


class _Blob:
    """One blob on its way, or here."""

    def __init__(self) -> None:
        self.ended = threading.Event()
        self.digest = hashlib.sha256()
        self.heard = time.monotonic()
        self.trouble = ""
        self.advice = ""


class BlobStore:
    """Blobs of this run, in a private directory that goes with it."""

    def __init__(self, ask: Callable[[str], None]) -> None:
        self._ask = ask
        self._directory: Path | None = None
        self._blobs: dict[str, _Blob] = {}
        self._lock = threading.Lock()
        self._closed = False

    def get(self, sha256: str) -> Path:
        """The file with that content, asking the controller when it isn't here yet."""
        with self._lock:
            first = sha256 not in self._blobs
            blob = self._blobs.setdefault(sha256, _Blob())
        if first:
            self._ask(sha256)
        while not self._closed and not blob.ended.wait(_left(blob)):
            if _left(blob) <= 0:
                break
        if self._closed or not blob.ended.is_set():
            raise ModuleFailed(f"content {sha256[:12]} did not arrive from the controller")
        if blob.trouble:
            with self._lock:
                del self._blobs[sha256]  # who asks for it next tries again
            raise ModuleFailed(f"content {sha256[:12]} {blob.trouble}", advice=blob.advice)
        return self._path(sha256)

    def receive(self, digest: bytes, last: bool, data: bytes) -> None:
        """Take one piece; called by the reader thread, pieces of a blob come in order."""
        sha256 = digest.hex()
        with self._lock:
            blob = self._blobs.setdefault(sha256, _Blob())
        blob.heard = time.monotonic()
        blob.digest.update(data)
        try:
            path = self._path(sha256)
            with path.open("ab") as file:
                file.write(data)
        except OSError as error:
            blob.trouble = f"can't be stored: {oserrors.explain(error)}"
            blob.advice = oserrors.advice(error) or "make room in /tmp or /var/tmp"
        if last:
            self._end(blob, sha256)

    def _end(self, blob: _Blob, sha256: str) -> None:
        if blob.digest.hexdigest() != sha256 and not blob.trouble:
            blob.trouble = "arrived damaged"
            blob.advice = "did its file change on the controller meanwhile? then run it again"
        if blob.trouble and self._directory:
            (self._directory / sha256).unlink(missing_ok=True)
        blob.ended.set()

    def close(self) -> None:
        """Release whoever waits for a blob: the controller has gone."""
        self._closed = True
        with self._lock:
            for blob in self._blobs.values():
                blob.ended.set()

    def remove(self) -> None:
        """Delete the private directory."""
        if self._directory:
            shutil.rmtree(self._directory, ignore_errors=True)

    def _path(self, sha256: str) -> Path:
        with self._lock:
            if self._directory is None:
                self._directory = Path(tempfile.mkdtemp(prefix="b9prov-"))
        return self._directory / sha256


def _left(blob: _Blob) -> float:
    """Seconds until the blob counts as lost."""
    return max(0.0, blob.heard + STALL_LIMIT - time.monotonic())
