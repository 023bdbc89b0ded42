"""From a story to what the page shows, in its order: what went wrong comes first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

from provisioner.engine.events import RunFinished
from provisioner.report import checks
from provisioner.report.html.story import Host, Row, Story, Task
from provisioner.report.html.timeline import Bar, Scale, lane
from provisioner.report.text import Detail, clean, duration, number, one_line
from provisioner.report.verdict import Rerun, verdict

STATUSES = ("failed", "changed", "ok", "ignored", "rescued", "skipped")
_ORDER = ("failed", "unreachable", "unfinished", "stopped", "well")


@dataclass
class Failure:
    """What went wrong, in the same way, on some hosts."""

    what: str
    title: str
    reason: str
    advice: str
    details: list[Detail]
    hosts: list[Lane] = field(default_factory=list)


@dataclass(frozen=True)
class Lane:
    """A host with its bars; `anchor` is the name of its place on the page, `unchanged` what is said
    of it where nothing went wrong and nothing changed."""

    host: Host
    bars: list[Bar]
    anchor: str
    unchanged: str

    @property
    def counts(self) -> list[tuple[str, int]]:
        """How many tasks, with each item of a loop, ended how."""
        every = [task.status for task in self.host.tasks]
        return [(each, every.count(each)) for each in STATUSES if each in every]

    @property
    def end(self) -> str:
        """How it ended there, in a word or two."""
        if not self.host.well:
            return self.host.end
        changed = self.host.summary.changed
        return f"{changed} changed" if changed else self.unchanged


@dataclass(frozen=True)
class GpuTable:
    """The rows of one host's GPUs, those that are not right first."""

    host: str
    rows: list[Row]
    state: Callable[[Row], str] = checks.state

    @property
    def counts(self) -> str:
        """`2 failed, 1 warning, 20 ok`."""
        return checks.counts(self.rows)

    @property
    def well(self) -> bool:
        """Whether no row failed."""
        return not any(_is_failure(row) for row in self.rows)


@dataclass(frozen=True)
class View:
    """All that the page shows."""

    command: str
    headline: str
    good: bool
    retry: str
    story: Story
    scale: Scale
    lanes: list[Lane]
    failures: list[Failure]
    gpus: list[GpuTable]
    network: list[Row]
    facts: list[str]
    totals: list[tuple[str, int]]
    statuses: list[str]


def view(story: Story, command: str, rerun: Rerun, by_tables: bool = False) -> View:
    """What to show; `by_tables` where the tables say whether all is well."""
    for host in story.hosts.values():
        host.lay_out()
    scale = Scale.of(story)
    hosts = sorted(story.hosts.values(), key=lambda host: _ORDER.index(host.end))
    unchanged = "has answered" if by_tables else "as described"
    lanes = [Lane(host, lane(host, scale), f"h{i}", unchanged) for i, host in enumerate(hosts)]
    gpus = [GpuTable(host, _sorted(rows)) for host, rows in story.gpus.items()]
    network = sorted(story.network.values(), key=lambda row: bool(row["ok"]))
    headline, good, retry = _headline(story, rerun)
    if by_tables and good:
        headline, good = _judged(gpus, network, headline)
    return View(
        clean(command),
        headline,
        good,
        retry,
        story,
        scale,
        lanes,
        _failures(lanes),
        sorted(gpus, key=lambda table: table.well),
        network,
        _facts(story),
        _totals(lanes) if story.finished is None else _counted(story.finished),
        [status for status, _ in _totals(lanes)],
    )


def moment(seconds: float, form: str = "%Y-%m-%d %H:%M:%S UTC") -> str:
    """A time for people; everywhere the same."""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime(form)


def _headline(story: Story, rerun: Rerun) -> tuple[str, bool, str]:
    if story.finished is None:
        return "not finished when this report was made", False, ""
    told = verdict(story.finished, story.track, rerun)
    return told.headline, told.good, told.retry


def _judged(gpus: list[GpuTable], network: list[Row], otherwise: str) -> tuple[str, bool]:
    """The headline where what was asked for is the tables."""
    rows = [row for table in gpus for row in table.rows]
    wrong = sum(map(_is_failure, rows))
    slow = sum(not row["ok"] for row in network)
    if rows:
        return f"{number(len(rows), 'check')} of GPUs: {checks.counts(rows)}", not wrong
    if network:
        total = len(network)
        return f"{total - slow} of {number(total, 'direction')} fast enough", not slow
    return otherwise, True


def _facts(story: Story) -> list[str]:
    facts = [moment(story.begun)] if story.begun else []
    facts += [duration(story.seconds), number(len(story.hosts), "host")]
    return facts + (["check mode: nothing was touched"] if story.check else [])


def _counted(finished: RunFinished) -> list[tuple[str, int]]:
    """How many tasks ended how; of those that were as described, without the others."""
    totals = dict.fromkeys(STATUSES, 0)
    for summary in finished.hosts.values():
        for status in STATUSES:
            totals[status] += getattr(summary, status)
        totals["ok"] -= min(summary.ok, summary.changed + summary.ignored)
    return [(status, count) for status, count in totals.items() if count]


def _totals(lanes: list[Lane]) -> list[tuple[str, int]]:
    """The same, with each item of a loop, of a run that has no end."""
    totals = dict.fromkeys(STATUSES, 0)
    for each in lanes:
        for status, count in each.counts:
            totals[status] += count
    return [(status, count) for status, count in totals.items() if count]


def _failures(lanes: list[Lane]) -> list[Failure]:
    """What went wrong, each once, with all hosts on which it did."""
    found: dict[tuple[str, ...], Failure] = {}
    for each in lanes:
        if each.host.well:
            continue
        for failure in _of_host(each.host):
            key = (failure.what, failure.title, failure.reason, failure.advice)
            found.setdefault(key, failure).hosts.append(each)
    return list(found.values())


def _of_host(host: Host) -> list[Failure]:
    failed = [task for task in host.tasks if task.status == "failed"]
    if failed:
        return [_of_task(task, host) for task in failed]
    last = f"last done: {host.tasks[-1].title}" if host.tasks else "nothing was done on it"
    title = {"unreachable": "out of reach", "unfinished": "cut off"}.get(host.end, host.end)
    why = host.reason or last
    return [Failure(host.end, title, why, host.advice, [])]


def _of_task(task: Task, host: Host) -> Failure:
    """Its reason and advice stand by themselves, so the details are without them."""
    advice = task.advice or (host.advice if task.reason in host.reason else "")
    reason = next((d.lines for d in task.details if d.label == "reason"), [task.reason])
    rest = [each for each in task.details if each.label not in ("reason", "advice")]
    return Failure("failed", task.title, "\n".join(reason), advice, rest)


def _sorted(rows: list[Row]) -> list[Row]:
    order = ("failed", "warning", "ok", "not judged")
    return sorted(rows, key=lambda row: order.index(checks.state(row)))


def _is_failure(row: Row) -> bool:
    return checks.state(row) == "failed"


def took(seconds: float) -> str:
    """`25 ms`, `1.2s`: most tasks take very little."""
    if seconds >= 0.995:
        return duration(seconds)
    return f"{round(1000 * seconds)} ms" if seconds >= 0.0005 else ""


def shown(value: Any) -> str:
    """A cell of a table."""
    if value is None or value == "":
        return "-"
    return f"{value:g}" if isinstance(value, float) else one_line(value)
