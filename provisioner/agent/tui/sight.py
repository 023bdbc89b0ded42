"""Looks at an agent again and again, in a thread of its own, and tells what it saw."""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from provisioner.agent.tui.client import Client, Event, Trouble

Json = dict[str, Any]
PERIOD, CALM_PERIOD = 2.0, 10.0  # seconds between two looks; where nobody looks at the details
KEPT = 300  # events
FIRST_PAUSE, LONGEST_PAUSE = 1.0, 60.0  # before it is tried again


class Sight(NamedTuple):
    """What was last seen of an agent; `trouble` is why nothing newer is. `reached` tells whether
    there is a way to it."""

    status: Json = {}  # noqa: RUF012 (never written to)
    inference: Json = {}  # noqa: RUF012
    pods: list[Json] = []  # noqa: RUF012
    pods_trouble: str = ""
    trouble: str = ""
    reached: bool = False


class Way(NamedTuple):
    """A client, how to leave what it goes through, and whether that still carries."""

    client: Client
    close: Callable[[], None] = lambda: None
    alive: Callable[[], bool] = lambda: True


class Watch:
    """One agent that is watched, under a name for people.

    `open` makes the way to it, and raises Trouble. `tell(sight)` and `hear(event)` are called in
    its threads. The pods and the events are asked for only while `detailed`; else it looks every
    `calm` seconds (CALM_PERIOD). Where something is wrong it tries again after `longest` seconds at
    the latest (LONGEST_PAUSE).
    """

    def __init__(
        self,
        name: str,
        open: Callable[[], Way],
        tell: Callable[[Sight], None],
        hear: Callable[[Event], None],
        detailed: bool = True,
        calm: float | None = None,
        longest: float | None = None,
    ) -> None:
        self.name = name
        self._open, self._tell, self._hear = open, tell, hear
        self._calm = CALM_PERIOD if calm is None else calm
        self._longest = LONGEST_PAUSE if longest is None else longest
        self._detailed = threading.Event()
        self._ended = threading.Event()
        self._hurry = threading.Event()
        self._way: Way | None = None
        self.sight = Sight()
        self.events: deque[Event] = deque(maxlen=KEPT)  # the last ones
        self.detail(detailed)

    def start(self) -> None:
        """Begin to look."""
        for loop in (self._look_on, self._listen_on):
            threading.Thread(target=loop, daemon=True).start()

    def close(self) -> None:
        """Look no more."""
        self._ended.set()
        self._hurry.set()
        self._detailed.set()

    def detail(self, wanted: bool) -> None:
        """Whether to ask for all there is; then at once."""
        if wanted:
            self._detailed.set()
            self._hurry.set()
        else:
            self._detailed.clear()

    def do(self, what: Callable[[Client], Any]) -> Any:
        """Ask the agent something else. Raises Trouble."""
        way = self._way
        if way is None:
            raise Trouble(self.sight.trouble or "the agent is not reached yet")
        answer = what(way.client)
        self._hurry.set()
        return answer

    def _look_on(self) -> None:
        pause = FIRST_PAUSE
        while not self._ended.is_set():
            try:
                self._look()
                pause = FIRST_PAUSE
                self._hurry.wait(PERIOD if self._detailed.is_set() else self._calm)
                self._hurry.clear()
            except Trouble as problem:
                if self._way and not self._way.alive():
                    self._leave()
                self._see(self.sight._replace(trouble=str(problem), reached=bool(self._way)))
                self._ended.wait(pause)
                pause = min(2 * pause, self._longest)
        self._leave()

    def _look(self) -> None:
        if self._way is None:
            self._way = self._open()
        client = self._way.client
        sight = Sight(client.status(), client.inference(), reached=True)
        if self._detailed.is_set():
            try:
                sight = sight._replace(pods=client.pods())
            except Trouble as problem:
                sight = sight._replace(pods=self.sight.pods, pods_trouble=str(problem))
        self._see(sight)

    def _see(self, sight: Sight) -> None:
        self.sight = sight
        if not self._ended.is_set():
            self._tell(sight)

    def _leave(self) -> None:
        way, self._way = self._way, None
        if way:
            way.close()

    def _listen_on(self) -> None:
        """Hear of events while there is a way; where a stream was cut, it goes on there."""
        while not self._ended.is_set():
            self._detailed.wait()
            way = self._way
            if way is not None and not self._ended.is_set():
                with contextlib.suppress(Trouble):  # the looks tell what is wrong
                    self._listen(way.client)
            self._ended.wait(FIRST_PAUSE)

    def _listen(self, client: Client) -> None:
        for event in client.events(self.events[-1].number if self.events else 0):
            self.events.append(event)
            self._hear(event)
            if self._ended.is_set() or not self._detailed.is_set():
                return
