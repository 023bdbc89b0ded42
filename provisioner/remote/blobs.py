"""Content that the controller holds and a host asks for by its SHA-256.

Small content is kept in a file of the run; of big files, each piece goes where it is wanted as it
comes, from the byte on that the host lacks.
"""

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


Sink = Callable[[bytes], object]


class _Blob:
    """One blob on its way, or here; with a `sink` its pieces are given to that."""

    def __init__(self, sink: Sink | None = None) -> None:
        self.sink = sink
        self.ended = threading.Event()
        self.digest = hashlib.sha256()
        self.heard = time.monotonic()
        self.trouble = ""
        self.advice = ""
        self.failure: Exception | None = None

    def pass_on(self, data: bytes) -> None:
        """Give a piece to the sink; after a failure the rest is let go by."""
        assert self.sink
        try:
            if data and not self.failure:
                self.sink(data)
        except Exception as error:
            self.failure = error


class BlobStore:
    """Blobs of this run, in a private directory that goes with it."""

    def __init__(self, ask: Callable[[str, int], None]) -> None:
        self._ask = ask  # for the content of that SHA-256, from that byte on
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
            self._ask(sha256, 0)
        self._wait(blob, sha256)
        if blob.trouble:
            with self._lock:
                del self._blobs[sha256]  # who asks for it next tries again
            raise ModuleFailed(f"content {sha256[:12]} {blob.trouble}", advice=blob.advice)
        return self._path(sha256)

    def stream(self, sha256: str, offset: int, sink: Sink) -> None:
        """Have the content from byte `offset` on, each piece given to `sink` as it comes.

        Nobody has looked at it: whoever asks must check the whole. What `sink` raises is raised
        here, once no more comes.
        """
        blob = _Blob(sink)
        with self._lock:
            self._blobs[sha256] = blob
        try:
            self._ask(sha256, offset)
            self._wait(blob, sha256)
        finally:
            with self._lock:
                del self._blobs[sha256]
        if blob.failure:
            raise blob.failure

    def _wait(self, blob: _Blob, sha256: str) -> None:
        while not self._closed and not blob.ended.wait(_left(blob)):
            if _left(blob) <= 0:
                break
        if self._closed or not blob.ended.is_set():
            raise ModuleFailed(f"content {sha256[:12]} did not arrive from the controller")

    def receive(self, digest: bytes, last: bool, data: bytes) -> None:
        """Take one piece; called by the reader thread, pieces of a blob come in order."""
        sha256 = digest.hex()
        with self._lock:
            blob = self._blobs.setdefault(sha256, _Blob())
        blob.heard = time.monotonic()
        if blob.sink:
            blob.pass_on(data)
            if last:
                blob.ended.set()
            return
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
