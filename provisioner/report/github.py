"""What went wrong in a run, as annotations of GitHub Actions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TextIO

from provisioner.engine.events import Event, HostUnreachable, RunFinished, TaskFinished
from provisioner.report.stream import Writer
from provisioner.report.text import clean, names, number, one_line, reason, tail, title
from provisioner.report.workflow import command, place

MOST = 10  # that GitHub shows of a step
_HOSTS = 5  # named in one of them
_LINES = 5  # of what a command printed


@dataclass(frozen=True)
class _Trouble:
    """What hosts may have in common."""

    task: str
    where: str
    reason: str
    advice: str
    said: tuple[str, ...] = field(default=(), compare=False)


class Annotations:
    """Gathers failures and writes them to `stream` when the run is over, one for all hosts that
    fail alike: GitHub shows just ten of a step."""

    def __init__(self, stream: TextIO) -> None:
        self._out = Writer(stream, commands=True)
        self._hosts: dict[_Trouble, list[str]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, TaskFinished) and event.status == "failed":
            self._add(_failure(event), event.host)
        elif isinstance(event, HostUnreachable):
            why, advice = one_line(event.reason), clean(event.advice).strip()
            self._add(_Trouble("unreachable", "", why, advice), event.host)
        elif isinstance(event, RunFinished):
            for host in event.unfinished:
                self._add(_Trouble("unfinished", "", "the run was interrupted", ""), host)
            for line in self._lines():
                self._out.line(line)

    def _add(self, trouble: _Trouble, host: str) -> None:
        hosts = self._hosts.setdefault(trouble, [])
        if host not in hosts:
            hosts.append(host)

    def _lines(self) -> Iterator[str]:
        troubles = list(self._hosts)
        shown = troubles if len(troubles) <= MOST else troubles[: MOST - 1]
        for trouble in shown:
            yield _line(trouble, self._hosts[trouble])
        if rest := len(troubles) - len(shown):
            more = f"and {number(rest, 'more failure')}: see the log and the job's summary"
            yield command("error", more, title="b9prov")


def _failure(event: TaskFinished) -> _Trouble:
    result = event.result
    said = tail(result.get("stderr") or result.get("stdout") or "", _LINES)
    advice = clean(result.get("advice") or "").strip()
    where = one_line(event.where)
    return _Trouble(title(event), where, reason(event), advice, tuple(filter(None, said)))


def _line(trouble: _Trouble, hosts: list[str]) -> str:
    file, _, line = trouble.where.rpartition(":")
    there = place(file, line) if line.isdigit() else {}
    text = f"{names(hosts, _HOSTS)}: {trouble.task}: {trouble.reason}"
    if trouble.where and not there:
        text += f" (at {trouble.where})"
    more = [*trouble.said, trouble.advice]
    told = [text, *(line for line in more if line and line not in text)]
    return command("error", "\n".join(told), **there, title=f"b9prov: {trouble.task}")
