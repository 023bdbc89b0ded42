"""What a report tells of a run, gathered from its events: hosts, their tasks, and when.

Only what is shown is kept, cleaned and without secrets: a run may have very many tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
)
from provisioner.report import text
from provisioner.report.diff import diff_lines
from provisioner.report.files import how_it_ended
from provisioner.report.text import Detail
from provisioner.report.track import Track

Row = Mapping[str, Any]
_CHECKS = {"name", "ok", "severity", "found", "wanted", "fix"}
_DIRECTION = {"from", "to", "ok"}
_GPU_MODULE = "nvidia_check"


@dataclass
class Task:
    """A task that ended on a host. `begun` and `ended` are Unix seconds."""

    title: str
    play: str
    module: str
    where: str
    status: str
    seconds: float
    ended: float
    begun: float = 0.0
    reason: str = ""
    advice: str = ""
    details: list[Detail] = field(default_factory=list)
    diff: list[str] = field(default_factory=list)


@dataclass
class Host:
    """One host's way through the run."""

    name: str
    tasks: list[Task] = field(default_factory=list)
    connected: float | None = None
    connecting: float = 0.0  # seconds that it took
    waits: list[str] = field(default_factory=list)  # for whom it waited
    lost: float | None = None  # when it was found to be out of reach
    end: str = "unfinished"
    reason: str = ""
    advice: str = ""
    summary: HostSummary = field(default_factory=HostSummary)

    @property
    def well(self) -> bool:
        return self.end == "well"

    def lay_out(self) -> None:
        """Find when each task began. Several may be told at once: a host does one at a time."""
        following = float("inf")
        for task in reversed(self.tasks):
            task.ended = min(task.ended, following)
            following = task.begun = task.ended - task.seconds


class Story:
    """A run so far. Feed it with events and when they were told, in Unix seconds."""

    def __init__(self) -> None:
        self.playbook = ""
        self.check = False
        self.begun = self.ended = 0.0
        self.hosts: dict[str, Host] = {}
        self.finished: RunFinished | None = None
        self.gpus: dict[str, list[Row]] = {}  # the last table of each host
        self.network: dict[tuple[str, str], Row] = {}  # the last of each direction
        self.track = Track(lambda: self.ended)

    def __call__(self, event: Event, at: float) -> None:
        self.begun = self.begun or at
        self.ended = max(at, self.ended)
        self.track(event)
        if isinstance(event, RunStarted):
            self.playbook, self.check = event.playbook, event.check
        if isinstance(event, (RunStarted, PlayStarted)):
            for name in event.hosts:
                self.host(name)
        elif isinstance(event, HostConnected):
            self.host(event.host).connected = at
            self.host(event.host).connecting = event.seconds
        elif isinstance(event, HostWaiting):
            self.host(event.host).waits.append(text.one_line(event.holder))
        elif isinstance(event, HostUnreachable):
            host = self.host(event.host)
            host.lost, host.end = at, "unreachable"
            host.reason, host.advice = text.one_line(event.reason), text.clean(event.advice)
        elif isinstance(event, TaskFinished):
            self.host(event.host).tasks.append(_task(event, at))
            self._keep_tables(event)
        elif isinstance(event, RunFinished):
            self._finish(event)

    def host(self, name: str) -> Host:
        """The host of that name, from now on."""
        return self.hosts.setdefault(name, Host(name))

    @property
    def seconds(self) -> float:
        """How long it took, as far as it is known."""
        return self.finished.seconds if self.finished else self.ended - self.begun

    def _keep_tables(self, event: TaskFinished) -> None:
        checks: Any = event.result.get("checks")
        rows: Any = event.result.get("rows")
        if event.module == _GPU_MODULE and _are(checks, _CHECKS):
            self.gpus[event.host] = text.masked(checks)
        if _are(rows, _DIRECTION):
            ends = [(str(row["from"]), str(row["to"])) for row in rows]
            self.network.update(zip(ends, text.masked(rows), strict=True))

    def _finish(self, event: RunFinished) -> None:
        self.finished = event
        for name in set(self.hosts) - set(event.hosts):
            del self.hosts[name]  # it was only asked by others
        for name, summary in event.hosts.items():
            host = self.host(name)
            cut_off = name in event.unfinished and summary.well
            host.summary, host.end = summary, "unfinished" if cut_off else how_it_ended(summary)
            host.reason = text.one_line(summary.reason or summary.stopped) or host.reason
            host.advice = text.clean(summary.advice).strip() or host.advice


def _are(rows: object, keys: set[str]) -> bool:
    """Whether it is a table whose rows have these keys."""
    if not isinstance(rows, list) or not rows:
        return False
    return all(isinstance(row, dict) and keys <= set(row) for row in rows)


def _task(event: TaskFinished, at: float) -> Task:
    task = Task(
        text.title(event),
        text.one_line(event.play),
        text.one_line(event.module),
        text.one_line(event.where),
        event.status,
        max(0.0, event.seconds),
        at,
        diff=diff_lines(event.result.get("diff")),
    )
    if event.status in ("failed", "ignored", "rescued"):
        task.reason = text.reason(event)
        task.advice = "\n".join(text.tail(event.result.get("advice") or ""))
        task.details = text.failure(event, verbose=1)
    elif event.status == "skipped":
        why = event.result.get("msg") or event.result.get("skip_reason")
        task.reason = text.one_line(why or "")
    else:
        task.details = _said(event)
    return task


def _said(event: TaskFinished) -> list[Detail]:
    """What a task that went well has to say, warnings first."""
    warnings = text.warnings(event)
    told = [Detail("warning", warnings)] if warnings else []
    if event.module == "debug":
        return [*told, Detail("message", text.message(event))]
    return [*told, *text.results(event)]
