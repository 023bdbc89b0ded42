"""Tells a sink of events, in the order in which they came, in a thread of its own.

Each host has a thread; were each to write its events itself, they would wait for each other more
than they write.
"""

from __future__ import annotations

import queue
import threading
from types import TracebackType

from provisioner.engine.events import Event, Sink

HOLD = 0.01  # seconds that events wait for more: to wake up for each costs more than to tell of it


class Teller:
    """To be entered; on leaving it waits until the sink was told of everything, and raises what
    the sink raised first. What comes after that is told nobody: a host that was stuck may wake up.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._events: queue.SimpleQueue[Event | None] = queue.SimpleQueue()
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def tell(self, event: Event) -> None:
        """Have the sink told. Thread-safe; waits for nothing."""
        self._events.put(event)

    def __enter__(self) -> Teller:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._events.put(None)
        self._closing.set()
        self._thread.join()
        if error is None and self._failure is not None:
            raise self._failure

    def _run(self) -> None:
        while (event := self._events.get()) is not None:
            try:
                self._sink(event)
            except Exception as error:
                self._failure = self._failure or error
            if self._events.empty():
                self._closing.wait(HOLD)
