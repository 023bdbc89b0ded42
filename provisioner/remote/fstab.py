"""The file systems that are to be mounted (fstab), and those that are (mountinfo)."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

PATH = "/etc/fstab"
MOUNTED = "/proc/self/mountinfo"


class Entry(NamedTuple):
    """A line of fstab, its fields as people write them."""

    src: str
    path: str
    fstype: str
    opts: str
    dump: str
    passno: str

    @property
    def line(self) -> str:
        """The entry as it is in the file."""
        return " ".join(map(_escaped, self)) + "\n"


def read(path: str) -> str:
    """The file's text; empty when there is none."""
    try:
        return Path(path).read_text("utf-8", "surrogateescape")
    except FileNotFoundError:
        return ""


def with_entry(text: str, entry: Entry) -> str:
    """The file with this entry in place of the one of the same mount point, or at its end."""
    lines = _lines(text)
    found = False
    for index, line in enumerate(lines):
        fields = _fields(line)
        if 4 <= len(fields) <= 6 and _is_of(fields, entry.path, entry.src):
            found = True
            if fields != list(map(_escaped, entry)):
                lines[index] = entry.line
    if not found:
        lines.append(entry.line)
        return "".join(lines)
    return "".join(lines) if "".join(lines) != "".join(_lines(text)) else text


def without(text: str, path: str, src: str | None) -> str:
    """The file without the entry of a mount point."""
    lines = text.splitlines(keepends=True)
    return "".join(
        line for line in lines if len(_fields(line)) != 6 or not _is_of(_fields(line), path, src)
    )


def sources(path: str) -> set[str]:
    """What is mounted at `path`: the device, and of a bind mount the folder. Empty: nothing."""
    mounts = _mounts()
    top = next((mount for mount in reversed(mounts) if mount.path == path), None)
    if top is None:
        return set()
    found = {top.device}
    for other in mounts:  # where else the same folder can be seen
        base = other.root.rstrip("/")
        same = other.number == top.number and other.path != path
        if same and f"{top.root}/".startswith(f"{base}/"):
            found.add(os.path.normpath(f"{other.path}/{top.root[len(base) :]}"))
    return found


class _Mount(NamedTuple):
    number: str
    root: str
    """The folder within its file system."""

    path: str
    device: str


def _mounts() -> list[_Mount]:
    """All mounts; of those at one place, the later ones hide the earlier ones."""
    found = []
    for line in Path(MOUNTED).read_text("utf-8", "surrogateescape").splitlines():
        fields = line.split()
        found.append(_Mount(fields[2], *map(_plain, (fields[3], fields[4], fields[-2]))))
    return found


def _lines(text: str) -> list[str]:
    lines = text.splitlines(keepends=True)
    return [line if line.endswith("\n") else f"{line}\n" for line in lines]


def _fields(line: str) -> list[str]:
    return [] if line.lstrip().startswith("#") else line.partition("#")[0].split()


def _is_of(fields: list[str], path: str, src: str | None) -> bool:
    if fields[1] != _escaped(path):
        return False
    # all swap has the same mount point: none
    return fields[1:3] != ["none", "swap"] or src in (None, fields[0])


def _escaped(field: str) -> str:
    return field.replace("\\", "\\134").replace(" ", "\\040").replace("&", "\\046")


def _plain(field: str) -> str:
    raw = re.sub(rb"\\([0-7]{3})", lambda m: bytes([int(m[1], 8)]), os.fsencode(field))
    return os.fsdecode(raw)
