"""What is known of one accelerator."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple, Protocol


class Device(NamedTuple):
    """One accelerator. `memory` is in MiB, `temperature` in °C, `power` in watts; None is unknown.

    `problem` says why it can't be worked with, and is empty when it can. `details` has what only
    its kind knows.
    """

    kind: str
    number: int
    name: str
    memory: int | None = None
    memory_free: int | None = None
    driver: str = ""
    temperature: float | None = None
    power: float | None = None
    problem: str = ""
    details: dict[str, Any] = {}  # noqa: RUF012 (never changed)


class Told(NamedTuple):
    """What there is by one way of asking, or in `problem` why it does not tell; `missing` where
    there is no such way here."""

    devices: list[Device]
    problem: str = ""
    missing: bool = False


class Kind(Protocol):
    """One kind of accelerator."""

    name: str

    def find(self) -> list[Device]:
        """Those that are here."""
        ...


def text(path: Path) -> str:
    """A short file of /sys without its newline; empty where it can't be read."""
    try:
        with path.open(encoding="utf-8", errors="replace") as stream:
            return stream.read(4096).strip()
    except OSError:
        return ""


def whole(path: Path) -> int | None:
    """The number in a file of /sys, also as `0x…`."""
    try:
        return int(text(path), 0)
    except ValueError:
        return None


def scaled(path: Path, unit: float) -> float | None:
    """The number in a file, in units of `unit`."""
    value = whole(path)
    return None if value is None else round(value / unit, 1)


def mebibytes(path: Path) -> int | None:
    """The number of bytes in a file, in MiB."""
    value = whole(path)
    return None if value is None else value >> 20


def numbered(directory: Path, pattern: str) -> list[Path]:
    """What matches in a directory, in the order of the numbers in the names."""
    try:
        found = list(directory.glob(pattern))
    except OSError:
        return []
    return sorted(found, key=lambda path: [int(n) for n in _digits(path.name).split()])


def _digits(name: str) -> str:
    return "".join(each if each.isdigit() else " " for each in name)
