"""Time for the keeper: waiting that can be cut short, and that notices a machine's sleep."""

from __future__ import annotations

import threading
import time

_JUMP = 3.0  # the wall clock may drift this much from the monotonic one in a chunk


class Clock:
    """The system's clocks, and waits that `stop` ends at once.

    Neither waits nor the monotonic clock advance while a machine is suspended, the wall clock
    does: when it has run ahead the wait is over, so that a machine reports as soon as it wakes.
    """

    chunk = 5.0  # how often a wait looks at the clocks

    def __init__(self) -> None:
        self._stop = threading.Event()

    @property
    def stopped(self) -> bool:
        """Whether `stop` was called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """End every wait, now and later."""
        self._stop.set()

    def wall(self) -> float:
        """Unix time."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds that never go back."""
        return time.monotonic()

    def wait(self, seconds: float) -> bool:
        """Wait; True when the wall clock leapt ahead and the wait was cut short for it."""
        end = self.monotonic() + seconds
        while not self.stopped:
            remaining = end - self.monotonic()
            if remaining <= 0:
                return False
            lag = self.wall() - self.monotonic()
            self._stop.wait(min(remaining, self.chunk))
            if self.wall() - self.monotonic() - lag > _JUMP:
                return True
        return False
