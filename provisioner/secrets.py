"""Secret values, and the one place where they are masked on the way out."""

from __future__ import annotations

import threading

MASK = "********"
_MIN_LENGTH = 4  # masking shorter values would shred ordinary text
_FEW = 24  # secrets that are looked for one by one
_lock = threading.Lock()
_longest_first: tuple[str, ...] = ()
_by_start: dict[str, list[str]] = {}


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
        for part in parts:
            alike = _by_start.setdefault(part[:_MIN_LENGTH], [])
            if len(part) >= _MIN_LENGTH and part not in alike:
                alike.append(part)
                _longest_first = tuple(sorted((*_longest_first, part), key=len, reverse=True))


def mask(text: str) -> str:
    """`text` with every registered secret replaced. Everything shown or kept goes through this."""
    values = _longest_first
    for value in values if len(values) <= _FEW else _candidates(text):
        if value in text:
            text = text.replace(value, MASK)
    return text


def _candidates(text: str) -> list[str]:
    """The secrets that are in `text`, longest first; what it takes does not grow with all others,
    of which a fleet has one per host."""
    found = set()
    for start in range(len(text) - _MIN_LENGTH + 1):
        for value in _by_start.get(text[start : start + _MIN_LENGTH], ()):
            if text.startswith(value, start):
                found.add(value)
    return sorted(found, key=len, reverse=True)
