"""Writes down a run while it goes. What goes wrong here is told and stops no run."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, TextIO, cast

from provisioner.engine.events import Event, HostSummary, PlayStarted, RunFinished, RunStarted
from provisioner.errors import BadInput
from provisioner.journal import store
from provisioner.journal.files import Appender, Lines, to_json
from provisioner.journal.record import Record


class Report(Protocol):
    """A sink on a stream; `close` raises the OSError that cut it short."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


@dataclass(frozen=True)
class Formats:
    """How it is written: the events of all hosts, the log of one, and how a host ended in a word.

    Masking secrets is theirs.
    """

    events: Callable[[TextIO], Report]
    log: Callable[[TextIO], Report]
    end: Callable[[HostSummary], str]


class Journal:
    """A sink, to be entered for the length of the run. `warn` is told, once, what went wrong.

    Without a folder it keeps nothing. Set `exit_code` before leaving it.
    """

    def __init__(
        self, folder: Path | None, record: Record, formats: Formats, warn: Callable[[str], None]
    ) -> None:
        self.record = record
        self.exit_code: int | None = None
        self._folder, self._formats, self._warn = folder, formats, warn
        self._logs: dict[str, Report] = {}
        self._appender = Appender()
        self._lock = -1
        self._told = False

    @classmethod
    def begin(
        cls, root: Path, record: Record, formats: Formats, warn: Callable[[str], None]
    ) -> Journal:
        """A journal in a new folder below `root`, from which old runs are removed."""
        try:
            folder = store.make_folder(root, record.started)
            record.id = folder.name
            journal = cls(folder, record, formats, warn)
            journal._open(folder)
            store.prune(root)
        except OSError as error:
            warn(f"no journal is kept of this run: {_said(error)}")
            return cls(None, replace(record, id=""), formats, warn)
        return journal

    @property
    def folder(self) -> Path:
        """The run's; only where one is kept."""
        assert self._folder
        return self._folder

    def _open(self, folder: Path) -> None:
        self._lock = os.open(folder / store.EVENTS, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self.record.save(folder)
        self._events = self._formats.events(
            cast(TextIO, Lines(folder / store.EVENTS, self._appender))
        )
        self._done = Lines(folder / store.DONE, self._appender)

    def __call__(self, event: Event) -> None:
        if self._folder is not None:
            self._events(event)
            for host, told in _by_host(event):
                self._log(host)(told)
        if isinstance(event, RunFinished):
            self._note_ends(event)
        elif isinstance(event, (RunStarted, PlayStarted)):
            self._note_hosts(event.hosts)

    def note_done(self, content: dict[str, Any]) -> None:
        """Keep what the engine says of a task that was proven done."""
        if self._folder is None:
            return
        self._attempt(lambda: self._done.write(to_json(content) + "\n"))

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.record.ended = time.time()
        self.record.exit_code = self.exit_code if error is None else exit_code_of(error)
        self.record.error = type(error).__name__ if error is not None else ""
        if self._folder is None:
            return
        for report in (self._events, *self._logs.values()):
            self._attempt(report.close)
        self._appender.close()
        self._attempt(lambda: self.record.save(self.folder))
        os.close(self._lock)

    def _attempt(self, action: Callable[[], object]) -> None:
        """Do it; of what goes wrong the first is told."""
        try:
            action()
        except OSError as error:
            if not self._told:
                self._told = True
                self._warn(f"the journal of this run is not complete: {_said(error)}")

    def _log(self, host: str) -> Report:
        if host not in self._logs:
            lines = Lines(store.log_path(self.folder, host), self._appender, _clock)
            self._logs[host] = self._formats.log(cast(TextIO, lines))
        return self._logs[host]

    def _note_hosts(self, hosts: Sequence[str]) -> None:
        """Name them before they are touched, should we not live to tell."""
        new = {host: {"end": "begun"} for host in hosts if host not in self.record.hosts}
        self.record.hosts.update(new)
        if new and self._folder is not None:
            self._attempt(lambda: self.record.save(self.folder))

    def _note_ends(self, event: RunFinished) -> None:
        for host, summary in event.hosts.items():
            unfinished = host in event.unfinished and summary.well
            self.record.hosts[host] = {
                "end": "unfinished" if unfinished else self._formats.end(summary),
                **{name: getattr(summary, name) for name in ("ok", "changed", "skipped", "failed")},
            }


def _by_host(event: Event) -> list[tuple[str, Event]]:
    """What each host's log is to have of an event."""
    if isinstance(event, (RunStarted, PlayStarted)):
        return [(host, replace(event, hosts=(host,))) for host in event.hosts]
    if isinstance(event, RunFinished):
        return [(host, _end(event, host)) for host in event.hosts]
    host = getattr(event, "host", None)
    return [] if host is None else [(host, event)]


def _end(event: RunFinished, host: str) -> RunFinished:
    unfinished = (host,) if host in event.unfinished else ()
    return replace(event, hosts={host: event.hosts[host]}, unfinished=unfinished)


def exit_code_of(error: BaseException) -> int:
    """What the command exits with for an exception."""
    if isinstance(error, KeyboardInterrupt):
        return 130
    return 2 if isinstance(error, BadInput) else 1


def _clock() -> str:
    """The time of day, in UTC as everywhere in a journal."""
    now = time.time()
    return time.strftime("%H:%M:%S", time.gmtime(now)) + f".{int(now % 1 * 1000):03}  "


def _said(error: OSError) -> str:
    return f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror or error)
