"""What happens in the agent, for whoever listens: log lines, changes of state, progress."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Any, NamedTuple

KEPT = 200  # happenings; a listener that is slower than this misses some


class Happening(NamedTuple):
    """One thing that happened. `kind` is log, state, tunnel, inference or pull; `at` is in Unix
    seconds."""

    number: int
    kind: str
    at: float
    data: dict[str, Any]


class Hub:
    """Thread-safe. Keeps the last happenings; who listens asks for those behind a number."""

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._kept: deque[Happening] = deque(maxlen=KEPT)
        self._number = 0

    @property
    def number(self) -> int:
        """That of the last happening."""
        return self._number

    def tell(self, kind: str, **data: Any) -> None:
        """Something happened; it must hold no secret."""
        with self._news:
            self._number += 1
            self._kept.append(Happening(self._number, kind, round(time.time(), 3), data))
            self._news.notify_all()

    def since(self, number: int) -> list[Happening]:
        """What is kept of what happened after happening `number`."""
        with self._news:
            return [each for each in self._kept if each.number > number]

    def wait(self, number: int, seconds: float) -> list[Happening]:
        """Like `since`, but waits up to so long for the first one."""
        with self._news:
            self._news.wait_for(lambda: self._number > number, seconds)
        return self.since(number)
