"""Secret values, and the one place where they are masked on the way out."""

from __future__ import annotations

import threading

MASK = "********"
_MIN_LENGTH = 4  # masking shorter values would shred ordinary text
_lock = threading.Lock()
_known: set[str] = set()


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
    with _lock:
        _known.update(part for part in parts if len(part) >= _MIN_LENGTH)


def mask(text: str) -> str:
    """`text` with every registered secret replaced. Everything shown or kept goes through this."""
    with _lock:
        known = sorted(_known, key=len, reverse=True)
    for value in known:
        if value in text:
            text = text.replace(value, MASK)
    return text
