"""A directory of artifacts: filled, looked through; laid out as a mirror is."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from provisioner.artifacts.lock import FILE, Entry, Lock, load_lock
from provisioner.remote import download

DEADLINE = 6 * 3600.0  # seconds for one file, whatever the line
_SILENCE = 60.0  # seconds that a source may be silent
_BLOCK = 1 << 20  # bytes
_PART = ".part"

Progress = Callable[[int, int, str], None]


class NotFetched(Exception):
    """No source gave a file; `advice` is the way out."""

    def __init__(self, entry: Entry, error: download.NoSource) -> None:
        super().__init__(f"{entry}: {error}")
        self.advice = error.advice


@dataclass(frozen=True)
class Fetched:
    """How a file was had: its source, empty when it was there; what other sources said instead."""

    entry: Entry
    source: str = ""
    loaded: int = 0
    refusals: tuple[dict[str, str], ...] = ()


@dataclass
class Found:
    """What is in a directory: entries by how they are, and files that nobody asked for."""

    right: list[Entry] = field(default_factory=list)
    wrong: list[tuple[Entry, str]] = field(default_factory=list)
    missing: list[Entry] = field(default_factory=list)
    superfluous: list[Path] = field(default_factory=list)

    @property
    def is_whole(self) -> bool:
        """Whether all is there as it should be, and nothing else."""
        return not (self.wrong or self.missing or self.superfluous)


class Folder:
    """The directory `path`; its own lock there says what belongs into it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def lock(self) -> Lock:
        """What belongs into it; empty before the first fetch. Raises BadInput."""
        file = self.path / FILE
        return load_lock(file) if file.exists() else Lock()

    def fetch(self, entry: Entry, sources: list[str], progress: Progress) -> Fetched:
        """Have the file there, from the first source that gives it as it should be.

        What was loaded of it before is continued. Raises NotFetched, OSError.
        """
        file = self.path / entry.path
        if file.is_file() and digest(file) == entry.sha256:
            return Fetched(entry)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_name(file.name + _PART)
        wanted = download.Wanted(entry.sha256, str(entry), entry.size)
        try:
            done = download.fetch(
                sources,
                wanted,
                part,
                timeout=_SILENCE,
                deadline=time.monotonic() + DEADLINE,
                progress=progress,
                stream=_nobody,
            )
        except download.NoSource as error:
            raise NotFetched(entry, error) from None
        part.chmod(0o644)
        part.replace(file)
        return Fetched(entry, done.source, done.loaded, tuple(done.refusals))

    def note(self, entries: Iterable[Entry]) -> None:
        """Keep in the directory's own lock what belongs into it. Raises OSError."""
        lock = self.lock
        for entry in entries:
            lock = lock.with_entry(entry)
        lock.write(self.path / FILE)

    def look(self, entries: Iterable[Entry], progress: Progress) -> Found:
        """Hash all of it and compare. Raises OSError."""
        found, known = Found(), {self.path / FILE}
        for entry in entries:
            if entry.is_image:
                continue
            file = self.path / entry.path
            known.add(file)
            if not file.is_file():
                found.missing.append(entry)
                continue
            size = file.stat().st_size
            said = digest(file, partial(_tell, progress, size, str(entry)))
            if said == entry.sha256:
                found.right.append(entry)
            else:
                found.wrong.append((entry, said))
        files = (file for file in sorted(self.path.rglob("*")) if file.is_file())
        found.superfluous = [file for file in files if file not in known]
        return found


def digest(file: Path, told: Callable[[int], None] = lambda done: None) -> str:
    """A file's SHA-256; `told` gets the bytes done so far. Raises OSError."""
    hashed, done = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK):
            hashed.update(block)
            done += len(block)
            told(done)
    return hashed.hexdigest()


def _tell(progress: Progress, size: int, label: str, done: int) -> None:
    progress(done, size, label)


def _nobody(sha256: str, offset: int, sink: Callable[[bytes], object]) -> None:
    raise download.BadSource("is no source of its own")
