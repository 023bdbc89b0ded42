"""JSON lines, one object an event, of a shape that is kept: see docs/json-output.md."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TextIO

from provisioner.engine.events import Event, HostSummary, RunFinished, TaskProgress
from provisioner.report.files import failed_hosts, how_it_ended
from provisioner.report.stream import Writer
from provisioner.report.text import masked
from provisioner.report.verdict import Rerun

SCHEMA = 1
_ENCODER = json.JSONEncoder(separators=(",", ":"))
_PROGRESS_EVERY = 1.0  # seconds, per host
_IDENTIFIERS = ("host", "hosts", "unfinished", "delegated_to", "status")  # names, not contents


class JsonLines:
    """Writes every event as it comes; `run_finished` and then `summary` are the last lines."""

    def __init__(
        self, stream: TextIO, rerun: Rerun, now: Callable[[], datetime] | None = None
    ) -> None:
        self._out = Writer(stream)
        self._rerun = rerun
        self._now = now or (lambda: datetime.now(timezone.utc))
        self._progress: dict[str, tuple[str | None, datetime]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunFinished):
            self._finish(event)
        elif not (isinstance(event, TaskProgress) and self._too_soon(event)):
            self._write(_name(type(event).__name__), _fields(event))

    def close(self) -> None:
        """Raise the OSError that cut the lines short, if one did."""
        self._out.close()

    def _finish(self, event: RunFinished) -> None:
        failed = failed_hosts(event.hosts)
        ends = {name: _end(summary) for name, summary in event.hosts.items()}
        content = {
            "hosts": ends,
            "seconds": round(event.seconds, 3),
            "interrupted": event.interrupted,
            "unfinished": list(event.unfinished),
            "retry": masked(self._rerun(failed)) if failed else None,
        }
        self._write("run_finished", content)
        self._out.line(_dump(summary_line(event)))

    def _write(self, name: str, content: dict[str, Any]) -> None:
        moment = self._now().astimezone(timezone.utc).isoformat(timespec="milliseconds")
        stamp = moment.replace("+00:00", "Z")
        self._out.line(_dump({"schema": SCHEMA, "event": name, **content, "time": stamp}))

    def _too_soon(self, event: TaskProgress) -> bool:
        """Whether the host told of this transfer within the last second; its end is always told."""
        now = self._now()
        label, last = self._progress.get(event.host, (None, now))
        soon = label == event.label and (now - last).total_seconds() < _PROGRESS_EVERY
        if soon and event.done != event.total:
            return True
        self._progress[event.host] = (event.label, now)
        return False


def summary_line(event: RunFinished) -> dict[str, Any]:
    """The last line: a shape that programs rely on, without anything else in it."""
    hosts = {name: _counts(end) for name, end in event.hosts.items()}
    return {"schema": SCHEMA, "event": "summary", "hosts": hosts}


def _counts(end: HostSummary) -> dict[str, Any]:
    always = ("ok", "changed", "skipped", "failed", "unreachable")
    rare = {key: getattr(end, key) for key in ("rescued", "ignored") if getattr(end, key)}
    return {**{key: getattr(end, key) for key in always}, **rare}


@functools.cache
def _name(kind: str) -> str:
    """`TaskFinished` → `task_finished`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind).lower()


def _fields(event: Event) -> dict[str, Any]:
    return {key: _value(key, getattr(event, key)) for key in event.__dataclass_fields__}


def _value(key: str, value: Any) -> Any:
    if key in _IDENTIFIERS:
        return list(value) if isinstance(value, tuple) else value
    return round(value, 3) if key == "seconds" else masked(value)


def _end(summary: HostSummary) -> dict[str, Any]:
    reason = summary.reason or summary.stopped
    return {
        "end": how_it_ended(summary),
        "reason": masked(reason),
        "advice": masked(summary.advice),
    }


def _dump(content: dict[str, Any]) -> str:
    return _ENCODER.encode(content)
