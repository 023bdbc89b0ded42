"""Lines for logs and CI: no colours, no cursor, one fact a line."""

from __future__ import annotations

import time
from typing import TextIO

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskProgress,
)
from provisioner.report.diff import diff_lines
from provisioner.report.stream import Writer
from provisioner.report.text import (
    Detail,
    clean,
    duration,
    failure,
    message,
    names,
    number,
    one_line,
    reason,
    results,
    title,
    warnings,
)
from provisioner.report.track import Clock, Track
from provisioner.report.verdict import Rerun, Verdict, counts, verdict

_PROGRESS_EVERY = 10.0  # seconds, per host
_INDENT = "    "


class Plain:
    """Writes a line for what changed or failed; with `verbose`, for everything."""

    def __init__(
        self,
        stream: TextIO,
        rerun: Rerun,
        diff: bool = False,
        verbose: int = 0,
        clock: Clock = time.monotonic,
    ) -> None:
        self._out = Writer(stream)
        self._rerun = rerun
        self._diff = diff
        self._verbose = verbose
        self._track = Track(clock)
        self._spoke: dict[str, float] = {}  # host → when its task began or it last told progress

    def __call__(self, event: Event) -> None:
        self._track(event)
        if isinstance(event, RunStarted):
            check = " (check mode: nothing is touched)" if event.check else ""
            count = number(len(event.hosts), "host")
            self._line(f"{one_line(event.playbook)} on {count}: {names(event.hosts)}{check}")
        elif isinstance(event, PlayStarted):
            count = number(len(event.hosts), "host")
            self._line(f"\nplay: {one_line(event.play)} ({count})")
        elif isinstance(event, TaskFinished):
            self._spoke[event.host] = self._track.clock()
            self._finished(event)
        elif isinstance(event, TaskProgress):
            self._progress(event)
        elif isinstance(event, HostUnreachable):
            self._host(event.host, "unreachable", one_line(event.reason))
            if event.advice:
                self._details([Detail("advice", clean(event.advice).splitlines())])
        elif isinstance(event, HostWaiting):
            self._host(event.host, "waiting", f"for another run: {one_line(event.holder)}")
        elif isinstance(event, HostConnected):
            self._spoke[event.host] = self._track.clock()
            if self._verbose:
                self._host(event.host, "connected", f"({duration(event.seconds)})")
        elif isinstance(event, RunFinished):
            self._summary(event)

    def close(self) -> None:
        """Raise the OSError that cut the log short, if one did."""
        self._out.close()

    def _finished(self, event: TaskFinished) -> None:
        status = self._status(event)
        if event.status in ("changed", "failed", "ignored", "rescued") or self._verbose:
            why = f": {reason(event)}" if event.status in ("ignored", "rescued") else ""
            self._host(event.host, status, f"{title(event)}{why} ({duration(event.seconds)})")
        for line in warnings(event):
            self._host(event.host, "warning", f"{title(event)}: {line}")
        if event.status == "failed" or (event.status in ("ignored", "rescued") and self._verbose):
            self._details(failure(event, self._verbose))
        elif event.module == "debug" and event.status != "skipped":
            for line in message(event):
                self._host(event.host, "says", line)
        elif self._verbose > 1:
            self._details(results(event))
        if self._diff and event.result.get("diff"):
            for line in diff_lines(event.result["diff"]):
                self._line(f"{_INDENT}{line}")

    def _status(self, event: TaskFinished) -> str:
        if event.status == "changed" and self._track.check:
            return "would change"
        return event.status

    def _progress(self, event: TaskProgress) -> None:
        now = self._track.clock()
        if now - self._spoke.setdefault(event.host, now) < _PROGRESS_EVERY:
            return
        self._spoke[event.host] = now
        label = f" {one_line(event.label)}" if event.label else ""
        meter = self._track.host(event.host).meter
        self._host(event.host, "progress", f"{one_line(event.task)}:{label} {meter}")

    def _summary(self, event: RunFinished) -> None:
        end = verdict(event, self._track, self._rerun)
        self._line("")
        for name, summary in event.hosts.items():
            self._line(f"{name}: {counts(summary)}")
        self._verdict(end)

    def _verdict(self, end: Verdict) -> None:
        self._line("")
        for trouble in end.troubles:
            self._line(f"{trouble.host} {trouble.what}: {trouble.marked}")
            if trouble.advice:
                self._details([Detail("advice", trouble.advice.splitlines())])
        self._line(end.headline)
        if end.see:
            self._line(end.see)
        if end.retry:
            self._line(f"retry just those: {end.retry}")

    def _details(self, details: list[Detail]) -> None:
        for detail in details:
            before = "| " if detail.output else ""
            for index, line in enumerate(detail.lines):
                label = "" if index else detail.label
                self._line(f"{_INDENT}{label:<10}{before}{line}")

    def _host(self, host: str, status: str, text: str) -> None:
        self._line(f"{host:<{self._track.width}}  {status:<{self._status_width}}  {text}")

    @property
    def _status_width(self) -> int:
        """Of the status that is written most; rarer, longer ones stand out."""
        return len("would change" if self._track.check else "changed")

    def _line(self, line: str) -> None:
        self._out.line(line.rstrip())
