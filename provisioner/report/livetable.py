"""The moving part of the terminal's report: one line a host, never taller than the screen."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from provisioner.report.text import duration, number
from provisioner.report.track import HostTrack, Track

_SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_WIDE = 100  # columns from which a bar fits beside the words
_AROUND = 4  # lines of the screen kept for the heading, the rest count and what scrolls above


class LiveTable:
    """Draws a Track. `lock` guards it against the thread that refreshes the screen."""

    def __init__(self, track: Track) -> None:
        self.lock = threading.Lock()
        self._track = track

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self.lock:
            yield from self._draw(max(3, console.height - _AROUND), options.max_width >= _WIDE)

    def _draw(self, room: int, wide: bool) -> Iterator[Text | Table]:
        hosts = list(self._track.hosts.values())
        yield self._heading(hosts)
        shown = choose(hosts, room)
        grid = Table.grid(padding=(0, 1, 0, 0), expand=True)
        grid.add_column(width=1)
        grid.add_column(no_wrap=True, overflow="ellipsis", max_width=30)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, justify="right", style="dim")
        for host in shown:
            grid.add_row(*self._row(host, wide))
        yield grid
        if len(shown) < len(hosts):
            yield Text(f"… and {len(hosts) - len(shown)} more", style="dim")

    def _heading(self, hosts: list[HostTrack]) -> Text:
        running = sum(host.state == "running" for host in hosts)
        lost = sum(host.lost for host in hosts)
        elapsed = duration(self._track.clock() - self._track.started)
        line = Text(f"{number(len(hosts), 'host')}, {running} busy", style="dim")
        if lost:
            line.append(f", {lost} failed", style="red")
        return line.append(f" · {elapsed}")

    def _row(
        self, host: HostTrack, wide: bool
    ) -> tuple[Text, Text, Text, ProgressBar | str, Text, str]:
        mark, style = self._mark(host)
        bar: ProgressBar | str = ""
        amount = Text()
        if host.meter is not None:
            amount = Text(str(host.meter), style="cyan")
            if host.meter.total and wide:
                bar = ProgressBar(host.meter.total, host.meter.done, width=20)
        elapsed = duration(self._track.clock() - host.since) if host.state == "running" else ""
        task = Text(host.task or host.state, style=style if host.lost else "")
        if host.state in ("idle", "waiting"):
            task.stylize("dim")
        return Text(mark, style=style), Text(host.name, style="bold"), task, bar, amount, elapsed

    def _mark(self, host: HostTrack) -> tuple[str, str]:
        if host.lost:
            return "✗", "bold red"
        if host.state == "running":
            return _SPIN[int(self._track.clock() * 10) % len(_SPIN)], "cyan"
        return ("✓", "green") if host.state == "idle" else ("·", "dim")


def choose(hosts: list[HostTrack], room: int) -> list[HostTrack]:
    """The hosts to show: all in their order, or what fits: failed ones in up to half the room,
    running ones, then the others."""
    if len(hosts) <= room:
        return hosts
    lost = [host for host in hosts if host.lost]
    running = [host for host in hosts if host.state == "running"]
    others = [host for host in hosts if not host.lost and host.state != "running"]
    half = room // 2
    return (lost[:half] + running + lost[half:] + others)[:room]
