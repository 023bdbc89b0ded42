"""The one stream of events that a run produces and that reports, journal and exit code read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Event:
    """Something that happened."""


@dataclass(frozen=True)
class RunStarted(Event):
    playbook: str
    hosts: tuple[str, ...]
    check: bool = False


@dataclass(frozen=True)
class PlayStarted(Event):
    play: str
    hosts: tuple[str, ...]


@dataclass(frozen=True)
class HostConnected(Event):
    host: str
    seconds: float


@dataclass(frozen=True)
class HostWaiting(Event):
    """Another run holds the host's lock; `holder` says who and since when."""

    host: str
    holder: str


@dataclass(frozen=True)
class TaskStarted(Event):
    """The host started the task, or one try or item of it; `where` is file:line."""

    host: str
    task: str
    module: str
    where: str


@dataclass(frozen=True)
class TaskProgress(Event):
    """Bytes so far and in all; `total` is 0 when it is not known."""

    host: str
    task: str
    done: int
    total: int
    label: str


@dataclass(frozen=True)
class TaskFinished(Event):
    """A task (or one item of its loop) ended.

    `status` is ok, changed, skipped, failed, rescued or ignored. `result` is the module's result,
    already emptied for `no_log`; its `diff` is `{"before", "after", "path"}` or a list of these.
    `delegated_to` names another host that ran it, `seconds` its duration there.
    """

    host: str
    play: str
    task: str
    module: str
    where: str
    status: str
    seconds: float
    result: dict[str, Any] = field(default_factory=dict)
    item: str | None = None
    delegated_to: str | None = None


@dataclass(frozen=True)
class HostUnreachable(Event):
    """No conversation with the host could be had, or it was lost."""

    host: str
    reason: str
    advice: str


@dataclass
class HostSummary:
    """How a run ended for one host; counts are tasks, of which `ok` has the changed ones too.

    `stopped` says why the host was stopped though nothing failed on it, as Ansible's
    `any_errors_fatal` has it.
    """

    ok: int = 0
    changed: int = 0
    skipped: int = 0
    failed: int = 0
    rescued: int = 0
    ignored: int = 0
    unreachable: bool = False
    reason: str = ""
    advice: str = ""
    stopped: str = ""

    @property
    def well(self) -> bool:
        return not (self.failed or self.unreachable or self.stopped)

    def count(self, status: str, changed: bool) -> None:
        """One more task that ended with this status; `changed` matters when it was ignored."""
        if status in ("changed", "ignored"):
            self.ok += 1
        if status == "ignored" and changed:
            self.changed += 1
        setattr(self, status, getattr(self, status) + 1)


@dataclass(frozen=True)
class RunFinished(Event):
    """The last event. `unfinished` names hosts cut off by an interrupt."""

    hosts: dict[str, HostSummary]
    seconds: float
    interrupted: bool = False
    unfinished: tuple[str, ...] = ()


Sink = Callable[[Event], None]
"""Receives events, one at a time, in a thread of the run's own (teller.py)."""
