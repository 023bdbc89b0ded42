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


def source(path: str) -> str | None:
    """What is mounted at `path`: a device, or of a bind mount the folder. None: nothing."""
    mounts = _mounts()
    found = None
    for root, where, device, parent in mounts.values():
        if where != path:
            continue
        above = mounts.get(parent)
        if parent == "1" or above is None:
            found = device
            continue
        # the folder within its file system, to be seen where that file system is
        base, place = above[0], above[1]
        folder = root[len(base) :] if len(base) > 1 and root.startswith(f"{base}/") else root
        found = folder if place == "/" else place + folder
    return found


def devices(path: str) -> set[str]:
    """The devices that are mounted at `path`."""
    return {device for _, where, device, _ in _mounts().values() if where == path}


def _mounts() -> dict[str, tuple[str, str, str, str]]:
    """By its number, of each mount: the root within its file system, where, device, parent."""
    found = {}
    for line in Path(MOUNTED).read_text("utf-8", "surrogateescape").splitlines():
        fields = line.split()
        number, parent, _, root, where = fields[:5]
        found[number] = (_plain(root), _plain(where), _plain(fields[-2]), parent)
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
