"""Files that only their owner reads."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.wholefile import replace

_OWNER = 0o600
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def write_private(path: Path, content: str) -> None:
    """Replace `path` in one step. Raises OSError."""
    replace(path, content.encode(), _OWNER)


def to_json(content: Any) -> str:
    """One line, ASCII."""
    return _ENCODER.encode(content)


class Appender:
    """Appends to files, of which it keeps those open that were used last: a run may have more hosts
    than a process may have files."""

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._open: dict[Path, int] = {}
        self._lock = threading.Lock()

    def append(self, path: Path, data: bytes) -> None:
        """Raises OSError."""
        with self._lock:
            descriptor = self._open.pop(path, None)
            if descriptor is None:
                descriptor = os.open(path, _APPEND, _OWNER)
            self._open[path] = descriptor
            if len(self._open) > self._most:
                os.close(self._open.pop(next(iter(self._open))))
            while data:
                data = data[os.write(descriptor, data) :]

    def close(self) -> None:
        """Close all files; they are opened anew should more be appended."""
        with self._lock:
            while self._open:
                os.close(self._open.popitem()[1])


class Lines:
    """A text stream that appends to a file: what was written is there if we are killed next.

    `before()` is put before each line.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, appender: Appender, before: Callable[[], str] = str) -> None:
        self.path = path
        self._appender = appender
        self._before = before

    def write(self, text: str) -> int:
        """Append whole lines. Raises OSError."""
        stamp = self._before()
        lines = (f"{stamp}{line}".rstrip() for line in text.removesuffix("\n").split("\n"))
        data = "".join(f"{line}\n" for line in lines).encode(self.encoding, "backslashreplace")
        self._appender.append(self.path, data)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""
