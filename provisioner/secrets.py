"""Secret values, and the one place where they are masked on the way out."""

from __future__ import annotations

import json
import threading

MASK = "********"
_MIN_LENGTH = 4  # masking shorter values would shred ordinary text
_FEW = 24  # secrets that are looked for one by one
_lock = threading.Lock()


class _Index:
    """Values that are looked for in texts. What that takes does not grow with their number where
    they are many, as with a fleet that has one per host."""

    def __init__(self) -> None:
        self._longest_first: tuple[str, ...] = ()
        self._by_start: dict[str, list[str]] = {}

    def add(self, value: str) -> None:
        alike = self._by_start.setdefault(value[:_MIN_LENGTH], [])
        if value not in alike:
            alike.append(value)
            self._longest_first = tuple(sorted((*self._longest_first, value), key=len)[::-1])

    def found(self, text: str) -> list[str]:
        """Those that are in `text`, longest first."""
        if len(self._longest_first) <= _FEW:
            return [value for value in self._longest_first if value in text]
        found = set()
        for start in range(len(text) - _MIN_LENGTH + 1):
            for value in self._by_start.get(text[start : start + _MIN_LENGTH], ()):
                if text.startswith(value, start):
                    found.add(value)
        return sorted(found, key=len, reverse=True)


_known, _known_in_json = _Index(), _Index()


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
        for part in parts:
            if len(part) >= _MIN_LENGTH:
                _known.add(part)
                _known_in_json.add(json.dumps(part)[1:-1])


def mask(text: str) -> str:
    """`text` with every registered secret replaced. Everything shown or kept goes through this."""
    for value in _known.found(text):
        text = text.replace(value, MASK)
    return text


def is_in_json(text: str) -> bool:
    """Whether ASCII JSON shows a secret in any of its texts, keys or numbers."""
    return bool(_known_in_json.found(text))
