"""The terminal's report: a live line per host, what happened above it, a table at the end."""

from __future__ import annotations

import sys
import time
from typing import TextIO

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
)
from provisioner.report.diff import diff_lines, style_of
from provisioner.report.livetable import LiveTable
from provisioner.report.text import (
    Detail,
    clean,
    duration,
    failure,
    message,
    number,
    one_line,
    reason,
    results,
    title,
    warnings,
)
from provisioner.report.track import Clock, Track
from provisioner.report.verdict import Rerun, Verdict, verdict

_MARKS = {
    "ok": ("✓", "green"),
    "changed": ("●", "yellow"),
    "would change": ("○", "yellow"),
    "skipped": ("-", "dim"),
    "ignored": ("!", "magenta"),
    "rescued": ("↺", "magenta"),
    "failed": ("✗", "bold red"),
    "unreachable": ("✗", "bold red"),
    "warning": ("!", "magenta"),
    "says": ("»", "cyan"),
    "connected": ("✓", "green"),
    "waiting": ("…", "magenta"),
}
_MOST_ROWS = 60  # of the final table; beyond it, hosts that are well are only counted


class Rich:
    """Shows the run on a terminal. `console` and `clock` can be given for recordings."""

    def __init__(
        self,
        stream: TextIO,
        rerun: Rerun,
        diff: bool = False,
        verbose: int = 0,
        clock: Clock = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._console = console or Console(file=stream)
        self._rerun = rerun
        self._diff = diff
        self._verbose = verbose
        self._track = Track(clock)
        self._table = LiveTable(self._track)
        self._live: Live | None = None

    def __call__(self, event: Event) -> None:
        with self._table.lock:  # the display reads it from a thread of its own
            self._track(event)
        # Printing takes the display's lock, so the table's must not be held here.
        if isinstance(event, RunStarted):
            self._begin(event)
        elif isinstance(event, PlayStarted):
            self._print(Rule(Text(one_line(event.play), style="bold"), style="dim", align="left"))
        elif isinstance(event, TaskFinished):
            self._finished(event)
        elif isinstance(event, HostUnreachable):
            self._unreachable(event)
        elif isinstance(event, HostWaiting):
            self._line(event.host, "waiting", f"for another run: {one_line(event.holder)}")
        elif isinstance(event, HostConnected) and self._verbose:
            self._line(event.host, "connected", "", event.seconds)
        elif isinstance(event, RunFinished):
            self.close()
            self._summary(event)

    def close(self) -> None:
        """Give the terminal back; nothing happens when that is done already."""
        live, self._live = self._live, None
        if live is not None:
            live.stop()

    def _begin(self, event: RunStarted) -> None:
        head = Text(one_line(event.playbook), style="bold")
        head.append(f" on {number(len(event.hosts), 'host')}", style="not bold")
        if event.check:
            head.append("  check mode: nothing is touched", style="not bold yellow")
        self._print(head)
        if self._console.is_terminal:
            self._live = Live(
                console=self._console,
                get_renderable=lambda: self._table,
                refresh_per_second=8,
                transient=True,
                redirect_stdout=self._console.file is sys.stdout,
                redirect_stderr=sys.stderr.isatty(),
            )
            self._live.start()

    def _finished(self, event: TaskFinished) -> None:
        status = "would change" if self._track.check and event.status == "changed" else event.status
        if status == "failed":
            self._failed(event)
        elif status in ("changed", "would change", "ignored", "rescued") or self._verbose:
            why = f": {reason(event)}" if status in ("ignored", "rescued") else ""
            self._line(event.host, status, f"{title(event)}{why}", event.seconds)
        for line in warnings(event):
            self._line(event.host, "warning", f"{title(event)}: {line}")
        if event.module == "debug" and status in ("ok", "changed", "would change"):
            for line in message(event):
                self._line(event.host, "says", line)
        elif self._verbose > 1 and status != "failed":
            self._print(Padding(_details(results(event)), (0, 0, 0, 4)))
        if self._diff and event.result.get("diff"):
            lines = [Text(line, style=style_of(line)) for line in diff_lines(event.result["diff"])]
            self._print(Padding(Group(*lines), (0, 0, 0, 4)))

    def _failed(self, event: TaskFinished) -> None:
        heading = Text(f" ✗ {event.host} ", style="bold red")
        heading.append(f"{title(event)} ", style="not bold red")
        details = _details(failure(event, self._verbose))
        self._print(Panel(details, title=heading, title_align="left", border_style="red"))

    def _unreachable(self, event: HostUnreachable) -> None:
        parts = [Detail("reason", [one_line(event.reason)])]
        if event.advice:
            parts.append(Detail("advice", clean(event.advice).splitlines()))
        heading = Text(f" ✗ {event.host} ", style="bold red").append("unreachable ", "not bold red")
        self._print(Panel(_details(parts), title=heading, title_align="left", border_style="red"))

    def _line(self, host: str, status: str, text: str, seconds: float | None = None) -> None:
        mark, style = _MARKS.get(status, ("·", ""))
        line = Text.assemble(
            (f"{mark} ", style),
            (f"{host:<{self._track.width}}  ", "bold"),
            (f"{status:<{len('changed')}}  ", style),
            text,
        )
        if seconds is not None:
            line.append(f" {duration(seconds)}", style="dim")
        self._print(line)

    def _summary(self, event: RunFinished) -> None:
        end = verdict(event, self._track, self._rerun)
        self._print(Text())
        if event.hosts:
            self._print(self._final_table(event))
        self._verdict(end)

    def _final_table(self, event: RunFinished) -> RenderableType:
        hosts, unfinished = event.hosts, set(event.unfinished)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="bold")
        table.add_column("host")
        changed = "would change" if self._track.check else "changed"
        for heading in ("ok", changed, "skipped", "failed", "time"):
            table.add_column(heading, justify="right")
        shown = list(hosts.items())
        if len(shown) > _MOST_ROWS:
            shown.sort(key=lambda pair: pair[1].well and pair[0] not in unfinished)
            shown = shown[:_MOST_ROWS]
        for name, summary in shown:
            table.add_row(*self._row(name, summary, name in unfinished))
        rest = len(hosts) - len(shown)
        return Group(table, Text(f"  … and {number(rest, 'host')} more")) if rest else table

    def _row(self, name: str, end: HostSummary, unfinished: bool) -> list[Text]:
        mark = Text("✓ ", style="green") if end.well else Text("✗ ", style="bold red")
        if end.well and unfinished:
            mark = Text("… ", style="yellow")
        seen = self._track.hosts.get(name)
        failed = Text(
            "unreachable" if end.unreachable else "stopped" if end.stopped else str(end.failed)
        )
        failed.stylize("dim" if end.well else "bold red")
        return [
            mark.append(name, style="default"),
            Text(str(end.ok), style="green" if end.ok else "dim"),
            Text(str(end.changed), style="yellow" if end.changed else "dim"),
            Text(str(end.skipped), style="dim"),
            failed,
            Text(duration(seen.seconds) if seen else "-", style="dim"),
        ]

    def _verdict(self, end: Verdict) -> None:
        for trouble in end.troubles:
            self._print(
                Text.assemble(
                    ("✗ ", "bold red"),
                    (trouble.host, "bold"),
                    (f" {trouble.what}: ", "red"),
                    trouble.marked,
                )
            )
            for line in trouble.advice.splitlines():
                self._print(Text(f"  {line}", style="cyan"))
        style = "bold green" if end.good else "bold red"
        self._print(Text(f"{'✓' if end.good else '✗'} {end.headline}", style=style))
        if end.see:
            self._print(Text(end.see, style="dim"), unbroken=True)
        if end.retry:
            self._print(Text.assemble("retry just those: ", (end.retry, "bold")), unbroken=True)

    def _print(self, what: RenderableType, unbroken: bool = False) -> None:
        self._console.print(what, highlight=False, markup=False, emoji=False, soft_wrap=unbroken)


def _details(details: list[Detail]) -> Table:
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for detail in details:
        style = {"reason": "bold", "advice": "cyan"}.get(detail.label, "")
        grid.add_row(detail.label, Text("\n".join(detail.lines), style=style))
    return grid
