"""`b9prov status --watch`: hosts are asked again and again, and shown as they answer."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from provisioner.cli.session import Session
from provisioner.cli.workers import ask_status
from provisioner.errors import BadInput
from provisioner.report.tables import STATUS_COLUMNS, json_row, live_table, status_lines
from provisioner.report.text import clean, one_line

REDRAW = 0.5  # seconds at the most between two looks of the terminal's picture
SCREEN = tuple(each for each in STATUS_COLUMNS if each not in ("models", "gpus"))
SCREEN += ("gpus", "models")  # the longest last: what does not fit goes
SHOWN = ("ready", "ssh", "tunnel", "agent", "gateway", "k3s", "ollama", "last_keepalive_age")
Row = dict[str, Any]
Ask = Callable[[list[str], Callable[[Row], None]], None]


class Watch:
    """Asks hosts in threads of its own: those that answered at one pace, those that are out of
    reach at another, so that nobody waits for a host that is gone."""

    def __init__(self, names: list[str], ask: Ask, interval: float) -> None:
        self._ask, self._interval = ask, interval
        self._rows: dict[str, Row | None] = dict.fromkeys(names)
        self._asked: dict[str, float] = {}
        self._news = threading.Condition()
        self._problem: BaseException | None = None

    def start(self) -> None:
        """Begin to ask."""
        for lost in (False, True):
            threading.Thread(target=self._pace, args=(lost,), daemon=True).start()

    def rows(self) -> list[Row]:
        """What is known now, with the keepalives as old as they are now. Raises what went wrong."""
        with self._news:
            if self._problem:
                raise self._problem
            now = time.monotonic()
            known = {name: row for name, row in self._rows.items() if row is not None}
            return [_aged(row, now - self._asked[name]) for name, row in known.items()]

    def wait(self, seconds: float) -> None:
        """Wait for news, so long at the most."""
        with self._news:
            self._news.wait(seconds)

    def wait_for_all(self) -> None:
        """Wait until something is known of every host."""
        with self._news:
            self._news.wait_for(lambda: self._problem or all(self._rows.values()))

    def _pace(self, lost: bool) -> None:
        while True:
            begun = time.monotonic()
            with self._news:
                names = [name for name, row in self._rows.items() if _is_lost(row) == lost]
            try:
                if names:
                    self._ask(names, self._see)
            except BaseException as problem:  # the thread that draws tells of it
                with self._news:
                    self._problem = problem
                    self._news.notify_all()
                return
            time.sleep(max(0.0, begun + self._interval - time.monotonic()))

    def _see(self, row: Row) -> None:
        with self._news:
            self._rows[row["name"]] = row
            self._asked[row["name"]] = time.monotonic()
            self._news.notify_all()


def watch_status(session: Session, interval: float, kind: str) -> int:
    """Show how the session's hosts fare until the user ends it; the exit code."""
    chosen = session.inventory.chosen(session.options.limit, session.options.shard)
    if not chosen:
        raise BadInput.of("there is no host to watch", advice="see `b9prov inventory show`")

    def ask(names: list[str], see: Callable[[Row], None]) -> None:
        options = replace(session.options, limit=",".join(names), shard=None)
        for row in ask_status(replace(session, options=options), see) or ():
            see(row)

    watch = Watch([host.name for host in chosen], ask, interval)
    watch.start()
    with contextlib.suppress(KeyboardInterrupt):
        _draw(watch, interval) if kind == "rich" else _repeat(watch, interval, kind)
    return 0


def _draw(watch: Watch, interval: float) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        while True:
            live.update(picture(watch.rows(), interval, console), refresh=True)
            watch.wait(REDRAW)


def picture(rows: list[Row], interval: float, console: Console) -> Group:
    """What the terminal shows."""
    at = datetime.now().strftime("%H:%M:%S")
    foot = Text(f"{at}, every {interval:g} s; Ctrl-C ends", style="dim")
    if not rows:
        return Group(Text("asking the hosts …", style="dim"), foot)
    lines = [Text(clean(line)) for line in status_lines(rows)]
    return Group(live_table(SCREEN, rows, console), *lines, foot)


def _repeat(watch: Watch, interval: float, kind: str) -> None:
    watch.wait_for_all()
    while True:
        begun = time.monotonic()
        rows = watch.rows()
        at = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if kind == "json":
            shown = {"schema": 1, "time": at, "hosts": [json_row(row) for row in rows]}
            click.echo(json.dumps(shown, separators=(",", ":")))
        else:
            click.echo("\n".join(f"{at} {line(row)}" for row in rows))
        time.sleep(max(0.0, begun + interval - time.monotonic()))


def line(row: Row) -> str:
    """A host in one line of words, for logs and pipes."""
    words = [f"{_word(key)}={_value(row.get(key))}" for key in SHOWN]
    why = f" ({one_line(row['reason'])})" if row.get("reason") and not row["ready"] else ""
    return f"{row['name']} {' '.join(words)}{why}"


def _word(key: str) -> str:
    return "keepalive" if key == "last_keepalive_age" else key


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}s"
    return "-" if value in (None, "") else one_line(value).replace(" ", "")


def _is_lost(row: Row | None) -> bool:
    return row is not None and row["ssh"] == "down"


def _aged(row: Row, seconds: float) -> Row:
    age = row.get("last_keepalive_age")
    return row if age is None else row | {"last_keepalive_age": round(age + seconds, 1)}
