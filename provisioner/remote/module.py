"""What a task module is given and what it may raise."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

CONTROLLER = "controller"
"""The source of a file that is the controller itself: it holds the file and sends it."""

Result = dict[str, Any]
"""Ansible's result: `changed`, and as fits `msg, rc, stdout, stderr, diff, failed, skipped`.

`diff` is `{"before": text, "after": text, "path": name}`, only made when `Context.diff`.
"""


class ModuleFailed(Exception):
    """The task failed; `extra` joins the result (rc, stdout, stderr, advice…)."""

    def __init__(self, msg: str, **extra: Any) -> None:
        super().__init__(msg)
        self.msg = msg
        self.extra = extra


def _no_progress(done: int, total: int, label: str) -> None:
    return None


def _no_stream(sha256: str, offset: int, sink: Callable[[bytes], object]) -> None:
    raise ModuleFailed(f"content {sha256} was not sent along")


def _no_blob(sha256: str) -> Path:
    raise ModuleFailed(f"content {sha256} was not sent along")


class Context(NamedTuple):
    """How a module meets the run that it is part of.

    `check`: report what would change and touch nothing. `diff`: add a diff to the result.
    `progress(done, total, label)`: bytes so far and in all (0 when unknown).
    `blob(sha256)`: path of content that the controller holds, fetched when it is asked for.
    `stream(sha256, offset, sink)`: for big content, its pieces from byte `offset` on, unchecked.
    """

    check: bool = False
    diff: bool = False
    progress: Callable[[int, int, str], None] = _no_progress
    blob: Callable[[str], Path] = _no_blob
    stream: Callable[[str, int, Callable[[bytes], object]], None] = _no_stream
