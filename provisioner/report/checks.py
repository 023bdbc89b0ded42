"""Tables of checks: what was found, what is wanted and what to do, a table a host.

Rows are `host, name, ok, severity, found, wanted, fix`; `severity` is error, warn or skip.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from provisioner.report.tables import render_table
from provisioner.report.text import one_line

Row = Mapping[str, Any]

COLUMNS = ("host", "check", "state", "found", "wanted", "fix")
_STYLES = {"failed": "red", "warning": "yellow", "not judged": "dim", "ok": "green"}


def render_checks(rows: Sequence[Row], kind: str, stream: TextIO) -> None:
    """Show them: a table for each host on a terminal, one of all for pipes, one object as JSON."""
    if kind == "json":
        render_table((), rows, kind, stream, "checks")
    elif kind == "plain":
        shown = [{**row, "check": row["name"], "state": state(row)} for row in rows]
        render_table(COLUMNS, shown, kind, stream, "checks")
        stream.write(f"{counts(rows)}\n" if rows else "")
    else:
        console = Console(file=stream, highlight=False, markup=False, emoji=False)
        for host in dict.fromkeys(row["host"] for row in rows):
            _show(str(host), [row for row in rows if row["host"] == host], console)


def state(row: Row) -> str:
    """How a check ended, in a word."""
    if row["severity"] == "skip":
        return "not judged"
    return "ok" if row["ok"] else "failed" if row["severity"] == "error" else "warning"


def counts(rows: Sequence[Row]) -> str:
    """`2 failed, 1 warning, 20 ok`, and so on."""
    states = [state(row) for row in rows]
    return ", ".join(f"{states.count(each)} {each}" for each in _STYLES if each in states)


def _show(host: str, rows: Sequence[Row], console: Console) -> None:
    """The table, and under it what to do; it folds its words rather than its lines."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.padding = (0, 1, 0, 0)
    table.add_column(host, no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column("found", overflow="fold", ratio=3)
    table.add_column("wanted", overflow="fold", ratio=2)
    for row in rows:
        ended = state(row)
        style = "dim" if ended == "not judged" else ""
        table.add_row(
            Text(one_line(row["name"]), style=style),
            Text(ended, style=_STYLES[ended]),
            Text(one_line(row["found"]), style=style),
            Text(one_line(row["wanted"])),
        )
    console.print(table)
    for row in rows:
        if not row["ok"]:
            name = Text(f"{one_line(row['name'])}: ", style=_STYLES[state(row)])
            console.print(name + Text(one_line(row["fix"])))
    console.print(f"{host}: {counts(rows)}")
