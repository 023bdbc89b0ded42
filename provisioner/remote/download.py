"""Fetches a file whose SHA-256 is known, from the first source that has it, resuming."""

from __future__ import annotations

import base64
import errno
import hashlib
import http.client
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from provisioner.remote.module import CONTROLLER

_BLOCK = 1 << 18
_PROGRESS_INTERVAL = 0.25
_TRIES = 5
"""How often in a row a source may break off without a byte of progress."""

Progress = Callable[[int, int, str], None]
Stream = Callable[[str, int, Callable[[bytes], object]], None]
"""How the controller sends: its content of that SHA-256, from that byte on, to that sink."""


class BadSource(Exception):
    """This source does not give the file; the next one may."""


class NoRoom(BadSource):
    """The file does not fit, whichever source gives it."""


class NoSource(Exception):
    """No source gave the file; `refusals` has each one's reason, `advice` the way out."""

    def __init__(self, refusals: list[dict[str, str]], advice: str) -> None:
        self.refusals, self.advice = refusals, advice
        reasons = "; ".join(f"{r['source']}: {r['reason']}" for r in refusals)
        super().__init__(reasons or "there are no sources")


@dataclass(frozen=True)
class Wanted:
    """The file that is wanted: its hash, its name for people, its size (0: unknown)."""

    sha256: str
    label: str
    size: int = 0


@dataclass
class Fetched:
    """Where the file came from, how much had to be loaded, and what other sources said."""

    source: str
    loaded: int
    resumed: int
    refusals: list[dict[str, str]] = field(default_factory=list)


class Part:
    """The growing file: its content so far and the hash of that."""

    def __init__(self, path: Path, wanted: Wanted, progress: Progress) -> None:
        self.path = path
        self.wanted = wanted
        self.progress = progress
        self.total = wanted.size
        self.loaded = 0
        self.told = 0.0
        self.file = open(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+b")  # noqa: SIM115
        self.hash = hashlib.sha256()
        self.done = 0
        for block in iter(lambda: self.file.read(_BLOCK), b""):
            self._count(block)

    def _count(self, block: bytes) -> None:
        self.hash.update(block)
        self.done += len(block)

    def add(self, block: bytes) -> None:
        """Append what came in."""
        self.file.write(block)
        self._count(block)
        self.loaded += len(block)
        if self.wanted.size and self.done > self.wanted.size:
            raise BadSource(f"sends more than the {self.wanted.size} bytes that are wanted")
        now = time.monotonic()
        if now - self.told >= _PROGRESS_INTERVAL:
            self.told = now
            self.progress(self.done, self.total, self.wanted.label)

    def restart(self) -> None:
        """Forget all content."""
        self.file.seek(0)
        self.file.truncate()
        self.hash = hashlib.sha256()
        self.done = 0

    def is_right(self) -> bool:
        """Whether the content is what is wanted."""
        return self.hash.hexdigest() == self.wanted.sha256

    def close(self) -> None:
        """Have the content on disk."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self.file.close()


def fetch(
    sources: Sequence[str],
    wanted: Wanted,
    path: Path,
    *,
    timeout: float,
    deadline: float,
    progress: Progress,
    stream: Stream,
) -> Fetched:
    """Make `path` the file that is wanted; what is there already is continued.

    A source may fall silent for `timeout` seconds; all together may take until `deadline`
    (of time.monotonic). Raises NoSource; what was loaded then stays for the next time.
    """
    part = Part(path, wanted, progress)
    resumed = part.done
    refusals: list[dict[str, str]] = []
    advice = "check that this host reaches one of these, or name a mirror that it reaches"
    try:
        for source in sources:
            try:
                _from(source, part, timeout, deadline, stream)
            except (BadSource, OSError, http.client.HTTPException, ValueError) as error:
                refusals.append({"source": shown(source), "reason": str(error)})
                if _is_full(error):
                    advice = f"free space on the file system of {path.parent}"
                continue
            progress(part.done, part.done, wanted.label)
            return Fetched(shown(source), part.loaded, resumed, refusals)
        raise NoSource(refusals, advice)
    finally:
        part.close()


def _is_full(error: Exception) -> bool:
    full = (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, NoRoom) or (isinstance(error, OSError) and error.errno in full)


def without_login(url: str) -> str:
    """A URL less `user:password@`."""
    parts = urllib.parse.urlsplit(url)
    return urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def shown(source: str) -> str:
    """A source as it may be shown: without a password or a signed query."""
    if "://" not in source:
        return source
    return without_login(urllib.parse.urlsplit(source)._replace(query="", fragment="").geturl())


def _from(source: str, part: Part, timeout: float, deadline: float, stream: Stream) -> None:
    if part.is_right():
        return

    is_local = source != CONTROLLER and not source.startswith(("http://", "https://"))
    if is_local:
        part.restart()

    def load() -> None:
        if is_local:
            _read_local(source, part)
        elif source == CONTROLLER:
            stream(part.wanted.sha256, part.done, part.add)
        else:
            _download(source, part, timeout, deadline)

    kept = part.done
    load()
    if not part.is_right() and kept:
        # the part may have been another source's lie, or of another version
        part.restart()
        load()
    if not part.is_right():
        found, size = part.hash.hexdigest(), part.done
        part.restart()
        raise BadSource(
            f"wrong content: its SHA-256 is {found} ({size} bytes), not {part.wanted.sha256}"
        )


def _read_local(source: str, part: Part) -> None:
    path = Path(urllib.parse.unquote(source[7:]) if source.startswith("file://") else source)
    try:
        with open(path, "rb") as file:
            part.total = os.fstat(file.fileno()).st_size
            _require_space(part)
            for block in iter(lambda: file.read(_BLOCK), b""):
                part.add(block)
    except OSError as error:
        raise BadSource(error.strerror or str(error)) from None


def _download(url: str, part: Part, timeout: float, deadline: float) -> None:
    """Load the rest, again and again while breaking off still brings us further."""
    tries = 0
    while True:
        before = part.done
        try:
            _attempt(url, part, timeout, deadline)
            return
        except urllib.error.HTTPError as error:
            if error.code == 416 and part.done:
                if part.total and part.done != part.total:
                    part.restart()
                return  # there is no more; the hash will tell
            if error.code < 500 and error.code not in (408, 429):
                raise BadSource(f"HTTP {error.code} {error.reason}") from None
            reason = f"HTTP {error.code} {error.reason}"
        except (OSError, http.client.HTTPException) as error:
            reason = str(getattr(error, "reason", error)) or type(error).__name__
        tries = 1 if part.done > before else tries + 1
        pause = min(0.25 * 2**tries, 5.0)
        if tries >= _TRIES or _refused(reason):
            raise BadSource(reason)
        if time.monotonic() + pause >= deadline:
            raise BadSource(f"{reason}; and the time for the download is over")
        time.sleep(pause if part.done == before else 0)


def _refused(reason: str) -> bool:
    """Nobody listens or there is no such host: asking again at once is no use."""
    return "Connection refused" in reason or "Name or service not known" in reason


def _attempt(url: str, part: Part, timeout: float, deadline: float) -> None:
    headers = {"User-Agent": "b9prov", "Accept-Encoding": "identity"}
    if part.done:
        headers["Range"] = f"bytes={part.done}-"
    request = urllib.request.Request(without_login(url), headers=headers)
    login = urllib.parse.urlsplit(url).netloc.rpartition("@")[0]
    if login:  # for this host only, not for where it may send us
        pair = base64.b64encode(urllib.parse.unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {pair}")
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        if part.done and answer.status != 206:
            part.restart()  # it sends everything from the beginning
        length = answer.headers.get("Content-Length")
        part.total = part.done + int(length) if length else part.wanted.size
        if part.wanted.size and length and part.total != part.wanted.size:
            raise BadSource(f"has {part.total} bytes, not {part.wanted.size}")
        _require_space(part)
        while True:
            block = answer.read(_BLOCK)
            if not block:
                break
            part.add(block)
            if time.monotonic() > deadline:
                raise BadSource("the time for the download is over")
        if length and part.done < part.total:
            raise ConnectionError(f"broke off at byte {part.done} of {part.total}")


def _require_space(part: Part) -> None:
    free = shutil.disk_usage(part.path.parent).free
    needed = part.total - part.done
    if needed > free:
        mib = 1 << 20
        raise NoRoom(
            f"needs {needed // mib} MiB, only {free // mib} MiB are free in {part.path.parent}"
        )
