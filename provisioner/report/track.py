"""Where every host stands, followed from the events: what live displays and summaries read."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from provisioner.report.text import one_line, reason, size

Clock = Callable[[], float]
_RATE_WINDOW = 10.0  # seconds over which the rate of a transfer is taken


class Meter:
    """Bytes of one transfer, and how fast they come."""

    def __init__(self, label: str, clock: Clock) -> None:
        self.label = label
        self.done = 0
        self.total = 0
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def update(self, done: int, total: int) -> None:
        if done < self.done:  # it began anew
            self._seen.clear()
        self.done, self.total = done, total
        now = self._clock()
        self._seen.append((now, done))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_WINDOW:
            self._seen.popleft()

    @property
    def rate(self) -> float:
        """Bytes per second, 0 while unknown."""
        if len(self._seen) < 2:
            return 0.0
        (start, first), (end, last) = self._seen[0], self._seen[-1]
        return (last - first) / (end - start) if end > start else 0.0

    def __str__(self) -> str:
        if self.total:
            share = min(100, 100 * self.done // self.total)
            amount = f"{size(self.done)} of {size(self.total)} ({share}%)"
        else:
            amount = size(self.done)
        return f"{amount}, {size(self.rate)}/s" if self.rate > 0 else amount


@dataclass
class HostTrack:
    """One host's course. `open` are the tasks that it began and whose end is not told yet."""

    name: str
    state: str = "waiting"  # waiting, running, idle, failed, unreachable
    task: str = ""
    since: float = 0.0
    first: float = 0.0
    last: float = 0.0
    changed: int = 0
    trouble: str = ""
    meter: Meter | None = None
    open: list[tuple[str, str]] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return self.last - self.first

    @property
    def lost(self) -> bool:
        return self.state in ("failed", "unreachable")


class Track:
    """The run so far."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self.clock = clock
        self.started = clock()
        self.playbook = ""
        self.play = ""
        self.check = False
        self.width = 0  # of the widest host name
        self.hosts: dict[str, HostTrack] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.playbook, self.check, self.started = event.playbook, event.check, self.clock()
            self._expect(event.hosts)
        elif isinstance(event, PlayStarted):
            self.play = event.play
            self._expect(event.hosts)
        elif isinstance(
            event,
            (
                HostConnected,
                HostWaiting,
                TaskStarted,
                TaskProgress,
                TaskFinished,
                HostUnreachable,
            ),
        ):
            self._of_host(event, self.host(event.host))

    def host(self, name: str) -> HostTrack:
        if name not in self.hosts:
            now = self.clock()
            self.hosts[name] = HostTrack(name, since=now, first=now, last=now)
            self.width = max(self.width, min(len(name), 30))
        return self.hosts[name]

    def _expect(self, hosts: tuple[str, ...]) -> None:
        for name in hosts:
            self.host(name)

    def _of_host(self, event: Event, host: HostTrack) -> None:
        host.last = self.clock()
        if isinstance(event, HostConnected):
            self._turn_to(host, "idle", "connected")
        elif isinstance(event, HostWaiting):
            self._turn_to(host, "running", f"waiting for another run: {event.holder}")
        elif isinstance(event, TaskStarted):
            host.open.append((event.task, event.where))
            if not host.lost:
                self._turn_to(host, "running", event.task)
        elif isinstance(event, TaskProgress):
            if host.meter is None or host.meter.label != event.label:
                host.meter = Meter(event.label, self.clock)
            host.meter.update(event.done, event.total)
        elif isinstance(event, TaskFinished):
            self._finish(host, event)
        elif isinstance(event, HostUnreachable):
            host.trouble = one_line(event.reason)
            self._turn_to(host, "unreachable", host.trouble)

    def _finish(self, host: HostTrack, event: TaskFinished) -> None:
        # The end of a task may be told after the start of the next one: that one goes on.
        key = (event.task, event.where)
        for _ in range(event.result.get("attempts", 1)):
            if key in host.open:
                del host.open[: host.open.index(key) + 1]
        host.changed += event.status == "changed"
        if event.status == "failed":
            host.trouble = f"{one_line(event.task)}: {reason(event)}"
            self._turn_to(host, "failed", host.trouble)
        elif not host.lost and not host.open:
            self._turn_to(host, "idle", event.task)

    def _turn_to(self, host: HostTrack, state: str, task: str) -> None:
        host.state, host.task, host.meter = state, one_line(task), None
        host.since = self.clock()
