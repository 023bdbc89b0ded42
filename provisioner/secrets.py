"""Secret values, and the one place where they are masked on the way out."""

from __future__ import annotations

import threading

MASK = "********"
_MIN_LENGTH = 4  # masking shorter values would shred ordinary text
_lock = threading.Lock()
_known: set[str] = set()
_longest_first: tuple[str, ...] = ()


class Secret(str):
    """A string that never shows itself in a repr; making one registers its value for `mask`."""

    __slots__ = ()

    def __new__(cls, value: str) -> Secret:
        register(value)
        return super().__new__(cls, value)

    def __repr__(self) -> str:
        return repr(MASK)


def register(value: str) -> None:
    """Have `mask` hide every later occurrence of `value`, and of its lines when it has several."""
    parts = {value, *value.splitlines()} if "\n" in value else {value}
    global _longest_first
    with _lock:
        _known.update(part for part in parts if len(part) >= _MIN_LENGTH)
        _longest_first = tuple(sorted(_known, key=len, reverse=True))


def mask(text: str) -> str:
    """`text` with every registered secret replaced. Everything shown or kept goes through this."""
    for value in _longest_first:
        if value in text:
            text = text.replace(value, MASK)
    return text
