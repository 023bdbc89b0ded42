"""JSON lines, one object an event, of a shape that is kept: see docs/json-output.md."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any, TextIO

from provisioner.codes import code_of
from provisioner.engine.events import (
    Event,
    HostSummary,
    HostUnreachable,
    RunFinished,
    TaskFinished,
    TaskProgress,
)
from provisioner.report.files import failed_hosts, how_it_ended
from provisioner.report.stream import Writer
from provisioner.report.text import masked
from provisioner.report.verdict import Rerun
from provisioner.secrets import is_in_json

SCHEMA = 1
_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
_PROGRESS_EVERY = 1.0  # seconds, per host
_AS_IS = frozenset(  # identifiers and what is ours, not contents
    ("schema", "event", "host", "hosts", "unfinished", "delegated_to", "status", "seconds", "time")
)


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
            content = {key: getattr(event, key) for key in event.__dataclass_fields__}
            if isinstance(event, HostUnreachable):
                content["code"] = code_of(event.reason) or None
            elif isinstance(event, TaskFinished) and event.status == "failed":
                content["code"] = code_of(str(event.result.get("msg", ""))) or None
            self._write(_name(type(event).__name__), content)

    def close(self) -> None:
        """Raise the OSError that cut the lines short, if one did."""
        self._out.close()

    def _finish(self, event: RunFinished) -> None:
        failed = failed_hosts(event.hosts)
        ends = {name: _end(summary) for name, summary in event.hosts.items()}
        content = {
            "hosts": ends,
            "seconds": event.seconds,
            "interrupted": event.interrupted,
            "unfinished": list(event.unfinished),
            "retry": masked(self._rerun(failed)) if failed else None,
        }
        self._write("run_finished", content)
        self._out.line(_dump(summary_line(event)))

    def _write(self, name: str, content: dict[str, Any]) -> None:
        if "seconds" in content:
            content["seconds"] = round(content["seconds"], 3)
        moment = self._now().astimezone(timezone.utc).isoformat(timespec="milliseconds")
        stamp = moment.replace("+00:00", "Z")
        self._out.line(_shown({"schema": SCHEMA, "event": name, **content, "time": stamp}))

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


def _shown(content: dict[str, Any]) -> str:
    """The line of an event; it is gone through in search of secrets only where it has one."""
    try:
        line = _dump(content)
        if not is_in_json(line):
            return line
    except (TypeError, ValueError):  # what JSON does not have becomes text
        pass
    return _dump({key: value if key in _AS_IS else masked(value) for key, value in content.items()})


def _end(summary: HostSummary) -> dict[str, Any]:
    reason = summary.reason or summary.stopped
    return {
        "end": how_it_ended(summary),
        "reason": masked(reason),
        "advice": masked(summary.advice),
        "code": code_of(reason) or None,
    }


def _dump(content: dict[str, Any]) -> str:
    return _ENCODER.encode(content)
