"""Unified diffs of what a task changed, from its result's `diff`."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from typing import Any

from provisioner.report.text import clean, masked, shorten, size

MOST_LINES = 200
_MOST_INPUT = 2_000_000  # characters on a side; beyond it a diff costs more than it tells
_MOST_INPUT_LINES = 10_000


def diff_lines(diff: Any, limit: int = MOST_LINES) -> list[str]:
    """The lines to show of `{"before", "after", "path"}` or a list of these, secrets masked."""
    every = [line for one in (diff if isinstance(diff, list) else [diff]) for line in _one(one)]
    left_out = len(every) - limit
    if left_out > 0:
        every = [*every[:limit], f"({left_out} more lines of this diff are not shown)"]
    return [shorten(line) for line in every]


def style_of(line: str) -> str:
    """The rich style of a line of a diff."""
    for start, style in (("+++", "bold"), ("---", "bold"), ("@@", "cyan"), ("(", "dim italic")):
        if line.startswith(start):
            return style
    return {"+": "green", "-": "red"}.get(line[:1], "dim")


def _one(diff: Any) -> Iterator[str]:
    if not isinstance(diff, dict) or not ("before" in diff or "after" in diff):
        return
    path = clean(diff.get("path") or diff.get("after_header") or "").replace("\n", " ")
    before, after = diff.get("before"), diff.get("after")
    if before == after:
        return
    yield f"--- {path} (before)".replace("---  ", "--- ")
    yield f"+++ {path} (after)".replace("+++  ", "+++ ")
    if _binary(before) or _binary(after):
        yield f"(binary content: {_amount(before)} before, {_amount(after)} after)"
        return
    # Masked before comparing, so that a secret is never split over pieces of a diff.
    yield from _compare(_text(before), _text(after))


def _compare(before: str, after: str) -> Iterator[str]:
    old, new = before.split("\n"), after.split("\n")
    if before == after:
        yield "(they differ in secrets or invisible characters only)"
    elif before.rstrip("\n") == after.rstrip("\n"):
        yield "(they differ in newlines at the end only)"
    elif max(len(before), len(after)) > _MOST_INPUT or max(len(old), len(new)) > _MOST_INPUT_LINES:
        yield f"(too large to compare: {_amount(before)} before, {_amount(after)} after)"
    else:
        old, new = before.splitlines(), after.splitlines()
        body = difflib.unified_diff(old, new, lineterm="")
        yield from list(body)[2:]  # without its own headings


def _text(side: Any) -> str:
    """A side of the diff as text; of a table of attributes, a line each."""
    if side is None:
        return ""
    if isinstance(side, dict):
        pairs = sorted(masked(side).items())
        return clean("\n".join(f"{key}: {_scalar(value)}" for key, value in pairs))
    return clean(side)


def _scalar(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _binary(side: Any) -> bool:
    if isinstance(side, (bytes, bytearray)):
        try:
            side = bytes(side).decode()
        except UnicodeDecodeError:
            return True
    if not isinstance(side, str):
        return False
    # What a host could not decode arrives as replacement characters or lone surrogates.
    odd = sum(char == "\ufffd" or "\ud800" <= char <= "\udfff" for char in side[:8192])
    return "\0" in side or odd > len(side[:8192]) // 50


def _amount(side: Any) -> str:
    if side is None:
        return "nothing"
    raw = side.encode("utf-8", "replace") if isinstance(side, str) else side
    return size(len(raw))
