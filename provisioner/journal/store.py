"""The folders of all runs: their names, which of them are still at work, which are too old."""

from __future__ import annotations

import contextlib
import difflib
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from provisioner.errors import BadInput
from provisioner.journal import record
from provisioner.journal.record import Record

KEPT = 100  # runs
LAST = "last"
EVENTS, DONE, LOGS = "events.jsonl", "done.jsonl", "hosts"

# Digits and small letters without those that look alike; in the order of their codes.
_DIGITS = "0123456789abcdefghjkmnpqrstvwxyz"
_LENGTH = 7
_ID = re.compile(f"[{_DIGITS}]{{{_LENGTH}}}")


def make_id(seconds: float) -> str:
    """A name for the run of that Unix second; names sort as times do."""
    number = int(seconds)
    return "".join(_DIGITS[number >> 5 * place & 31] for place in reversed(range(_LENGTH)))


def make_folder(root: Path, seconds: float) -> Path:
    """A new folder for a run of that time or, where there is one, of the second after it."""
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    while True:
        folder = root / make_id(seconds)
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            seconds += 1
        else:
            (folder / LOGS).mkdir(mode=0o700)
            return folder


@dataclass(frozen=True)
class Kept:
    """A run that is on record."""

    folder: Path
    record: Record
    result: str

    @property
    def id(self) -> str:
        return self.folder.name

    @property
    def seconds(self) -> float | None:
        """How long it took, as far as it is known when it ended."""
        ended = self.record.ended
        if ended is None:
            with contextlib.suppress(OSError):
                ended = (self.folder / EVENTS).stat().st_mtime
        return None if ended is None else max(0.0, ended - self.record.started)

    def logs(self) -> dict[str, Path]:
        """The log of each host."""
        return {unquote(path.stem): path for path in sorted((self.folder / LOGS).glob("*.log"))}

    def events(self) -> list[dict[str, Any]]:
        """The events, as far as they were written."""
        return list(_json_lines(self.folder / EVENTS))

    def done(self) -> list[dict[str, Any]]:
        """What was proven done, in the form that the engine gave it."""
        return list(_json_lines(self.folder / DONE))


def log_path(folder: Path, host: str) -> Path:
    """Where a host's log is, whatever its name."""
    return folder / LOGS / f"{quote(host, safe=' @:+,=')}.log"


def runs(root: Path) -> list[Kept]:
    """All runs on record, the newest first; what can't be read is left out."""
    return list(iter_runs(root))


def iter_runs(root: Path) -> Iterator[Kept]:
    """The same, read as they are asked for."""
    for folder in reversed(_folders(root)):
        if kept := _read(folder):
            yield kept


def find(root: Path, name: str) -> Kept:
    """The run with this ID, or the only one that begins so, or the `last`. Raises BadInput."""
    if name == LAST:
        newest = next(
            (kept for folder in reversed(_folders(root)) if (kept := _read(folder))), None
        )
        if newest is None:
            raise BadInput.of("there are no runs on record", advice="`b9prov up` makes one")
        return newest
    ids = [folder.name for folder in _folders(root)]
    fitting = [each for each in ids if name and each.startswith(name)]
    if len(fitting) != 1:
        raise BadInput.of(*_explain(name, ids, fitting))
    kept = _read(root / fitting[0])
    if kept is None:
        raise BadInput.of(f"the record of run {fitting[0]} can't be read", advice=str(root))
    return kept


def prune(root: Path, keep: int = KEPT) -> None:
    """Remove the oldest runs but for the last `keep`; those at work stay. Raises OSError."""
    for folder in _folders(root)[:-keep]:
        if not is_alive(folder):
            shutil.rmtree(folder)


def is_alive(folder: Path) -> bool:
    """Whether a process is still writing: it holds a lock on the events, which ends with it."""
    try:
        descriptor = os.open(folder / EVENTS, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def _folders(root: Path) -> list[Path]:
    try:
        return sorted(path for path in root.iterdir() if _ID.fullmatch(path.name))
    except OSError:
        return []


def _read(folder: Path) -> Kept | None:
    alive = is_alive(folder)  # before the record: a run that ends in between is not taken for dead
    try:
        found = record.load(folder)
    except (OSError, ValueError):
        return None
    return Kept(folder, found, found.result(alive))


def _explain(name: str, ids: list[str], fitting: list[str]) -> tuple[str, None, str]:
    if fitting:
        which = ", ".join(reversed(fitting[-5:]))
        return f"{name!r} begins the ID of {len(fitting)} runs", None, f"the newest: {which}"
    near = difflib.get_close_matches(name, [LAST, *reversed(ids)], n=1)
    hint = f"did you mean {near[0]}?" if near else "`b9prov runs` lists them"
    return f"no run is called {name!r}", None, hint


def _json_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The whole lines of a file; a killed process may have left half of one at the end."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    content = json.loads(line)
                    if isinstance(content, dict):
                        yield content
    except OSError:
        return
