"""Events again, from the JSON lines that a run left (docs/json-output.md)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from provisioner.engine import events
from provisioner.engine.events import Event, HostSummary, RunFinished

Line = Mapping[str, Any]
_KINDS: dict[str, type[Event]] = {
    "run_started": events.RunStarted,
    "play_started": events.PlayStarted,
    "host_connected": events.HostConnected,
    "host_waiting": events.HostWaiting,
    "task_started": events.TaskStarted,
    "task_progress": events.TaskProgress,
    "task_finished": events.TaskFinished,
    "host_unreachable": events.HostUnreachable,
}


def reread(lines: Iterable[Line]) -> Iterator[tuple[Event, float]]:
    """The events and when each was told, in Unix seconds; lines of other kinds are left out.

    How a run ended stands in its last two lines, which are one event. Raises ValueError.
    """
    ended: Line = {}
    try:
        for line in lines:
            kind = line.get("event")
            if kind == "run_finished":
                ended = line
            elif kind == "summary" and ended:
                yield _finished(ended, line), _moment(ended)
            elif kind in _KINDS:
                yield _event(_KINDS[kind], line), _moment(line)
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"no event of a run: {error!r}") from None


def _event(kind: type[Event], line: Line) -> Event:
    given = {each.name: line[each.name] for each in fields(kind) if each.name in line}
    return kind(**{name: tuple(v) if name == "hosts" else v for name, v in given.items()})


def _finished(line: Line, summary: Line) -> RunFinished:
    hosts = {
        name: _summary(end, summary["hosts"].get(name, {})) for name, end in line["hosts"].items()
    }
    cut_off = tuple(line["unfinished"])
    return RunFinished(hosts, float(line["seconds"]), bool(line["interrupted"]), cut_off)


def _summary(end: Line, counts: Line) -> HostSummary:
    known = {each.name for each in fields(HostSummary)}
    told = {name: value for name, value in counts.items() if name in known}
    why = {"reason": end["reason"], "advice": end["advice"]}
    if end["end"] == "stopped":
        why["stopped"] = end["reason"] or "because of other hosts"
    return HostSummary(**told, **why)


def _moment(line: Line) -> float:
    return datetime.fromisoformat(str(line["time"]).replace("Z", "+00:00")).timestamp()
