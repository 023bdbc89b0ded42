"""How a run ended, in words: the same ones on a terminal and in a log."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath

from provisioner.codes import code_of, see
from provisioner.engine.events import HostSummary, RunFinished
from provisioner.report.files import failed_hosts, how_it_ended
from provisioner.report.text import clean, duration, names, number, one_line
from provisioner.report.track import Track

Rerun = Callable[[list[str]], str]
"""The command that retries just the hosts given."""


@dataclass(frozen=True)
class Trouble:
    """Why one host is not as described."""

    host: str
    what: str  # failed, unreachable, stopped, unfinished
    reason: str
    advice: str = ""
    code: str = ""

    @property
    def marked(self) -> str:
        """The reason with its code behind it."""
        return f"{self.reason} [{self.code}]" if self.code else self.reason


@dataclass(frozen=True)
class Verdict:
    headline: str
    good: bool
    troubles: list[Trouble] = field(default_factory=list)
    retry: str = ""

    @property
    def see(self) -> str:
        """Where what went wrong is explained; "" for nowhere."""
        return see(trouble.code for trouble in self.troubles)


def verdict(event: RunFinished, track: Track, rerun: Rerun) -> Verdict:
    """What to say at the end, read from the summary and from what was seen on the way."""
    failed = failed_hosts(event.hosts)
    troubles = [_trouble(name, event.hosts[name], track) for name in failed]
    unfinished = [name for name in event.unfinished if name not in failed]
    troubles += [Trouble(name, "unfinished", _cut_off(name, track)) for name in unfinished]
    retry = one_line(rerun(failed)) if failed else ""
    if event.interrupted:
        return Verdict(_interrupted(event, track), False, troubles, retry)
    if not event.hosts:
        return Verdict("no hosts: nothing to do", True)
    if troubles:
        rest = len(event.hosts) - len(troubles)
        others = f"; the other {number(rest, 'host')} finished" if rest else ""
        headline = f"{len(troubles)} of {number(len(event.hosts), 'host')} failed{others}"
        return Verdict(f"{headline} ({duration(event.seconds)})", False, troubles, retry)
    return Verdict(_all_well(event, track), True)


def counts(summary: HostSummary) -> str:
    """`ok=12 changed=3 skipped=1 failed=0`, and what else there was, `unreachable` last."""
    line = (
        f"ok={summary.ok} changed={summary.changed} "
        f"skipped={summary.skipped} failed={summary.failed}"
    )
    for name in ("rescued", "ignored"):
        if times := getattr(summary, name):
            line += f" {name}={times}"
    return f"{line} unreachable" if summary.unreachable else line


def _all_well(event: RunFinished, track: Track) -> str:
    changed = sum(summary.changed for summary in event.hosts.values())
    touched = sum(summary.changed > 0 for summary in event.hosts.values())
    everyone = "1 host is" if len(event.hosts) == 1 else f"all {len(event.hosts)} hosts are"
    if track.check:
        found = (
            f"{number(changed, 'task')} would change on {number(touched, 'host')}"
            if changed
            else f"{everyone} as described; nothing would change"
        )
        return f"{found} (check mode: nothing was touched)"
    if not changed:
        return f"{everyone} as described; nothing changed"
    return (
        f"{everyone} as described now; {number(changed, 'task')} changed "
        f"on {number(touched, 'host')} in {duration(event.seconds)}"
    )


def _interrupted(event: RunFinished, track: Track) -> str:
    command = one_line(PurePath(track.playbook).stem)
    following = f"the next `{command}`" if command else "the next run"
    if not event.unfinished:
        return f"interrupted after {duration(event.seconds)}; no host was left half-done"
    return (
        f"interrupted after {duration(event.seconds)}: {names(event.unfinished)} unfinished; "
        f"{following} finishes what is half-done"
    )


def _cut_off(name: str, track: Track) -> str:
    host = track.hosts.get(name)
    if host is None or host.state == "waiting":
        return "not begun"
    if host.state == "running":
        return f"cut off in: {host.task}"
    return f"cut off after: {host.task}"


def _trouble(name: str, summary: HostSummary, track: Track) -> Trouble:
    seen = track.hosts.get(name)
    told = one_line(summary.reason or summary.stopped)
    reason = told or (seen.trouble if seen else "") or "no reason was given"
    what = how_it_ended(summary)
    code = code_of(summary.reason or summary.stopped)
    return Trouble(name, what, reason, clean(summary.advice).strip(), code)
