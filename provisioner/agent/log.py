"""Log lines on stderr, with every known secret masked.

Not the `logging` package: it costs an idle agent another megabyte for what is four functions here.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

MASK = "********"
_MIN_SECRET = 4  # masking shorter values would shred ordinary text
_LEVELS = {"debug": 7, "info": 6, "warning": 4, "error": 3}  # syslog priorities
_secrets: set[str] = set()


def hide(value: str) -> None:
    """Have `mask` cover `value` from now on."""
    if len(value) >= _MIN_SECRET:
        _secrets.add(value)


def mask(text: str) -> str:
    """`text` without any value given to `hide`."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, MASK)
    return text


def one_line(text: str, limit: int = 300) -> str:
    """`text` from an untrusted peer, made fit for a log line."""
    clean = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    return " ".join(clean.split())[:limit]


class Log:
    """Writes lines; under systemd's journal with a priority, elsewhere with a time.

    `hear(level, line)` is told of each, masked. `troubles` are what is amiss on this machine, by
    what it is with.
    """

    def __init__(self, debug: bool = False, stream: TextIO | None = None) -> None:
        self.hear: Callable[[str, str], None] = lambda level, line: None
        self.troubles: dict[str, str] = {}
        self._debug = debug
        self._stream = stream
        self._journal = stream is None and "JOURNAL_STREAM" in os.environ

    def debug(self, text: str) -> None:
        """A detail, shown with --debug only."""
        if self._debug:
            self._write("debug", text)

    def info(self, text: str) -> None:
        """Something that an owner wants to know."""
        self._write("info", text)

    def warning(self, text: str) -> None:
        """Something that needs attention but not yet hands."""
        self._write("warning", text)

    def error(self, text: str) -> None:
        """Something that will not mend by itself."""
        self._write("error", text)

    def trouble(self, what: str, problem: str) -> None:
        """`problem` with `what`: told when it comes, kept until it has gone, which is empty."""
        before = self.troubles.get(what, "")
        if problem:
            self.troubles[what] = mask(problem)
        else:
            self.troubles.pop(what, None)
        if problem and not before:
            self.warning(f"{what}: {problem}")
        elif before and not problem:
            self.info(f"{what}: well again")

    def _write(self, level: str, text: str) -> None:
        line = mask(text)
        self.hear(level, line)
        if self._journal:
            line = f"<{_LEVELS[level]}>{line}"
        else:
            line = f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {level:7} {line}"
        try:
            print(line, file=self._stream or sys.stderr, flush=True)
        except (OSError, ValueError):
            return  # a full disk or a closed terminal must not end the keepalive


def masked(document: Any, secret_keys: frozenset[str] = frozenset({"token"})) -> Any:
    """A copy of a request body in which the values of `secret_keys` are covered."""
    if isinstance(document, dict):
        return {
            key: MASK if key in secret_keys and value else masked(value, secret_keys)
            for key, value in document.items()
        }
    if isinstance(document, list):
        return [masked(value, secret_keys) for value in document]
    return document
