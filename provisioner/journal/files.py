"""Files that only their owner reads."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_OWNER = 0o600
_APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


def write_private(path: Path, content: str) -> None:
    """Replace `path` in one step, so that no reader meets half a file. Raises OSError."""
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _OWNER)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def to_json(content: Any) -> str:
    """One line, ASCII."""
    return json.dumps(content, separators=(",", ":"))


class Lines:
    """A text stream that appends to a file: what was written is there if we are killed next.

    The file is open for no longer than a write takes, since a run may have more hosts than a
    process may have files. `before()` is put before each line.
    """

    encoding = "utf-8"

    def __init__(self, path: Path, before: Callable[[], str] = str) -> None:
        self.path = path
        self._before = before
        self._lock = threading.Lock()

    def write(self, text: str) -> int:
        """Append whole lines. Raises OSError."""
        stamp = self._before()
        lines = (f"{stamp}{line}".rstrip() for line in text.removesuffix("\n").split("\n"))
        data = "".join(f"{line}\n" for line in lines).encode(self.encoding, "backslashreplace")
        with self._lock:
            descriptor = os.open(self.path, _APPEND, _OWNER)
            try:
                while data:
                    data = data[os.write(descriptor, data) :]
            finally:
                os.close(descriptor)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""
