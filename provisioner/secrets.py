"""Secret values, and the one place where they are masked on the way out."""

from __future__ import annotations

import base64
import hmac
import json
import threading
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, quote_plus

MASK = "********"
_MIN_LENGTH = 4  # masking shorter values would shred ordinary text
_FEW = 64  # secrets that are looked for one by one
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
            if len(self._longest_first) <= _FEW:
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
_listeners: list[Callable[[str], None]] = []


class Secret:
    """A value that can't be printed: as text it is a mask, JSON and YAML refuse it.

    `reveal` is the one way to it. Making one registers its value for `mask`. It is equal to, and
    hashed as, the text that it stands for. Pickled it is plain, for a cluster's controllers.
    """

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        register(value)
        self._value = value

    def reveal(self) -> str:
        """The value itself, to be used, and neither shown nor kept."""
        return self._value

    def __str__(self) -> str:
        return MASK

    def __repr__(self) -> str:
        return repr(MASK)

    def __format__(self, spec: str) -> str:
        return MASK

    def __bool__(self) -> bool:
        return bool(self._value)

    def __eq__(self, other: object) -> bool:
        other = revealed(other)
        return isinstance(other, str) and hmac.compare_digest(self._value.encode(), other.encode())

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> tuple[type[Secret], tuple[str]]:
        return type(self), (self._value,)


def revealed(value: Any) -> Any:
    """What a Secret stands for; anything else as it is."""
    return value.reveal() if isinstance(value, Secret) else value


def register(value: str) -> None:
    """Have `mask` hide every later occurrence of `value`, and of its lines when it has several;
    also where it was made part of a URL or encoded in base64."""
    parts = {value, *value.splitlines()} if "\n" in value else {value}
    with _lock:
        for part in parts:
            if len(part) < _MIN_LENGTH:
                continue
            for listener in _listeners:
                listener(part)
            for form in _forms(part):
                _known.add(form)
                _known_in_json.add(json.dumps(form)[1:-1])


def on_secret(listener: Callable[[str], None]) -> None:
    """Have `listener` told each value, a line of it at a time, before `mask` is asked to hide it.

    It is for those who must mask it as well, and may be told of one again.
    """
    _listeners.append(listener)


def _forms(value: str) -> set[str]:
    data = value.encode("utf-8", errors="surrogateescape")
    return {
        value,
        base64.b64encode(data).decode(),
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
    }


def mask(text: str) -> str:
    """`text` with every registered secret replaced. Everything shown or kept goes through this."""
    for value in _known.found(text):
        text = text.replace(value, MASK)
    return text


def is_in_json(text: str) -> bool:
    """Whether ASCII JSON shows a secret in any of its texts, keys or numbers."""
    return bool(_known_in_json.found(text))
