"""A run as a page in Markdown: what GitHub Actions shows as the summary of a job."""

from __future__ import annotations

import html
import re
import time
from collections.abc import Iterator
from pathlib import Path

from provisioner.engine.events import Event, HostSummary, RunFinished
from provisioner.report.files import how_it_ended
from provisioner.report.text import number, one_line
from provisioner.report.track import Track
from provisioner.report.verdict import Rerun, Trouble, Verdict, verdict

MOST = 1024 * 1024  # bytes that GitHub takes of a step
_MARKUP = re.compile(r"([\\`*_\[\]|~$])")
_COLUMNS = ("", "Host", "Result", "ok", "changed", "skipped", "failed", "Why")


class JobSummary:
    """Follows a run, and appends its page to `path` when it is over."""

    def __init__(self, path: Path, rerun: Rerun) -> None:
        self._path, self._rerun, self._track = path, rerun, Track(time.monotonic)

    def __call__(self, event: Event) -> None:
        self._track(event)
        if isinstance(event, RunFinished):
            with self._path.open("ab") as file:
                file.write(self._page(event, MOST - file.tell()))

    def _page(self, event: RunFinished, room: int) -> bytes:
        """The page in `room` bytes at most: of too many hosts the first, failed ones foremost."""
        ended = verdict(event, self._track, self._rerun)
        head, rows, foot = _head(ended, self._track), list(_rows(event, ended)), _foot(ended)
        cut = "\n{} not shown here; the log has all.\n"
        room -= sum(len(part.encode()) for part in (head, foot, cut)) + 20
        kept: list[str] = []
        for row in rows:
            room -= len(row.encode())
            if room < 0:
                break
            kept.append(row)
        if not kept and rows:
            return b""
        left_out = len(rows) - len(kept)
        more = cut.format(number(left_out, "host")) if left_out else ""
        return "".join([head, *kept, more, foot]).encode("utf-8", "backslashreplace")


def escaped(text: str) -> str:
    """Text, on one line, that Markdown shows as it is."""
    return _MARKUP.sub(r"\\\1", html.escape(one_line(text), quote=False)).replace("@", "&#64;")


def _head(ended: Verdict, track: Track) -> str:
    sign = "✅" if ended.good else "❌"
    playbook = f"{escaped(Path(track.playbook).stem)}: " if track.playbook else ""
    rule = "".join("--:|" if name.islower() else "---|" for name in _COLUMNS)
    table = f"| {' | '.join(_COLUMNS)} |\n|{rule}\n"
    return f"## {sign} {playbook}{escaped(ended.headline)}\n\n{table}"


def _rows(event: RunFinished, ended: Verdict) -> Iterator[str]:
    """A line of the table for each host, first those that are in trouble."""
    troubles = {trouble.host: trouble for trouble in ended.troubles}
    for name in [*troubles, *(name for name in event.hosts if name not in troubles)]:
        yield _row(name, event.hosts.get(name, HostSummary()), troubles.get(name))


def _row(name: str, end: HostSummary, trouble: Trouble | None) -> str:
    result = trouble.what if trouble else how_it_ended(end)
    counts = (end.ok, end.changed, end.skipped, end.failed)
    why = escaped(trouble.reason) if trouble else ""
    cells = ["❌" if trouble else "✅", escaped(name), result, *map(str, counts), why]
    return f"| {' | '.join(cells)} |\n"


def _foot(ended: Verdict) -> str:
    advice: dict[str, list[str]] = {}
    for trouble in ended.troubles:
        if trouble.advice:
            advice.setdefault(escaped(trouble.advice), []).append(escaped(trouble.host))
    told = [
        f"- {', '.join(hosts[:5])}{' …' * (len(hosts) > 5)}: {each}\n"
        for each, hosts in list(advice.items())[:20]
    ]
    again = f"\n```console\n$ {ended.retry}\n```\n" if ended.retry else ""
    if not told and not again:
        return "\n"
    return "\n### What to do next\n\n" + "".join(told) + again + "\n"
