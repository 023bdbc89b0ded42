"""Audit logs: one JSON object a line, which are only ever appended.

The gateway host's says who did what to which worker. Where the file system can, it is marked so
that not even root changes a line by accident (`chattr +a`); that mark is taken off to put a full
file aside.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import json
import os
import pwd
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PATH = "/var/log/b9prov/audit.jsonl"
FILE_MODE, FOLDER_MODE = 0o640, 0o750
MOST_BYTES = 8 << 20
"""After which a file is put aside as FILE.1, in place of the one that was there."""

_GET_FLAGS, _SET_FLAGS, _APPEND_ONLY = 0x80086601, 0x40086602, 0x20  # linux/fs.h
_PARENTS = 20


def note(path: Path, entry: dict[str, Any]) -> str:
    """Append what was done, now, and by whom; returns what went wrong, which undoes nothing."""
    try:
        path.parent.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        append(path, {**entry, **login()}, FILE_MODE, marked=True)
    except OSError as error:
        return f"the audit log {path} does not have this: {error.strerror}"
    return ""


def append(path: Path, entry: dict[str, Any], mode: int, marked: bool = False) -> None:
    """Append an entry and its time, in Unix seconds. Raises OSError."""
    line = json.dumps({"time": round(time.time(), 3), **entry}) + "\n"
    with _locked(path):
        _put_full_aside(path)
        _append(path, line.encode(), mode, marked)


def read(path: Path) -> list[dict[str, Any]]:
    """All entries, the oldest first; lines that a crash has cut short are left out."""
    found = []
    for file in (_aside(path), path):
        with contextlib.suppress(FileNotFoundError):
            for line in file.read_bytes().splitlines():
                with contextlib.suppress(ValueError):
                    entry = json.loads(line)
                    found += [entry] if isinstance(entry, dict) else []
    return found


def login() -> dict[str, str]:
    """The user who came to this host, and from which address, as far as it is known."""
    found = {"login": os.environ.get("SUDO_USER") or _own_name()}
    connection = _environment("SSH_CONNECTION")
    return {**found, "from": connection.split()[0]} if connection else found


def _own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


def _environment(name: str) -> str:
    """A variable of this process or the nearest one above it that has it: sudo drops most."""
    pid = os.getpid()
    for _ in range(_PARENTS):
        with contextlib.suppress(OSError):
            for each in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                key, _, value = each.partition(b"=")
                if key == name.encode() and value.strip():
                    return value.decode(errors="replace")
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        except OSError:
            return ""
        pid = int(stat.rpartition(")")[2].split()[1])
        if pid <= 1:
            return ""
    return ""


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _append(path: Path, line: bytes, mode: int, marked: bool) -> None:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(path, flags, mode)
    try:
        size = os.fstat(descriptor).st_size
        if not size:
            os.fchmod(descriptor, mode)
            if marked:
                _mark(descriptor, True)
        elif os.pread(descriptor, 1, size - 1) != b"\n":
            line = b"\n" + line  # the one before was cut short
        os.write(descriptor, line)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_full_aside(path: Path) -> None:
    try:
        if path.stat().st_size < MOST_BYTES:
            return
    except FileNotFoundError:
        return
    for file in (path, _aside(path)):
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC)
            try:
                _mark(descriptor, False)
            finally:
                os.close(descriptor)
    path.replace(_aside(path))


def _mark(descriptor: int, append_only: bool) -> None:
    """Not every file system can, nor every container may."""
    with contextlib.suppress(OSError):
        flags = array.array("l", [0])
        fcntl.ioctl(descriptor, _GET_FLAGS, flags, True)
        flags[0] = flags[0] | _APPEND_ONLY if append_only else flags[0] & ~_APPEND_ONLY
        fcntl.ioctl(descriptor, _SET_FLAGS, flags)


def _aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.1")
