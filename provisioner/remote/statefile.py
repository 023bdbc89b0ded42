"""Small JSON files that several runs share: locked, and replaced whole so that none is torn."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioner.remote.hostlock import Held, HostLock
from provisioner.remote.module import ModuleFailed

LOCK_WAIT = 120.0


@contextmanager
def locked(path: Path, holder: str, wait: float = LOCK_WAIT) -> Iterator[None]:
    """Hold `path`.lock, so that of two controllers' runs one works on the file at a time."""
    lock = HostLock(f"{path}.lock")
    try:
        lock.acquire(holder, wait)
    except Held as error:
        raise ModuleFailed(f"{path}: {error}", advice="wait for it to end") from None
    try:
        yield
    finally:
        lock.release()


def load(path: Path) -> dict[str, Any]:
    """What the file holds; empty when there is none."""
    try:
        state = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(state, dict):
        raise _damaged(path, "not a JSON object")
    return state


def _damaged(path: Path, why: str) -> ModuleFailed:
    return ModuleFailed(
        f"{path} is damaged: {why}", advice="mend it, or move it away and run again"
    )


def save(path: Path, state: dict[str, Any], mode: int = 0o600) -> None:
    """Replace the file by `state`."""
    replace(path, json.dumps(state, indent=2, sort_keys=True) + "\n", mode)


def replace(path: Path, text: str, mode: int) -> None:
    """Put `text` in the place of `path` in one step, never readable by more than `mode` lets."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fchmod(descriptor, mode)
        os.fsync(descriptor)
    fresh.replace(path)
