"""Listings: a table for people, aligned text for pipes, one object for programs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from provisioner.report.stream import Writer
from provisioner.report.text import duration, masked, one_line

Row = Mapping[str, Any]

STATUS_COLUMNS = (
    "name",
    "ready",
    "ssh",
    "tunnel",
    "agent",
    "gateway",
    "k3s",
    "ollama",
    "models",
    "gpus",
    "last_keepalive_age",
    "machine_id",
    "pool",
    "address",
)
NETWORK_COLUMNS = ("from", "to", "way", "gbps", "wanted", "ok", "retransmits")
_WIDEST = 40  # a cell's characters, on a terminal, before it folds
_UNBOUNDED = 10_000
_LEAST = 4  # columns that stay on the narrowest terminal
_TITLES = {
    "agent_version": "agent",
    "asked_age": "asked",
    "cpu": "CPU",
    "created_age": "created",
    "free_gpus": "free GPUs",
    "gbps": "Gbit/s",
    "gpu": "GPU",
    "gpus": "GPUs",
    "id": "ID",
    "last_keepalive_age": "keepalive",
    "last_seen_age": "last seen",
    "launched_age": "launched",
    "machine_id": "machine",
    "price": "$/hour",
    "since_age": "up since",
}
_STYLES = dict.fromkeys(("yes", "ready", "active", "ok", "up"), "green") | dict.fromkeys(
    ("no", "failed", "inactive", "unreachable", "missing", "not ready", "down"), "red"
)


def render_table(
    columns: Sequence[str], rows: Sequence[Row], kind: str, stream: TextIO, key: str
) -> None:
    """Show `rows` by their `columns`; as JSON, `{"schema": 1, key: rows}` with all they hold."""
    if kind == "json":
        shown = [json_row(row) for row in rows]
        _write([json.dumps({"schema": 1, key: shown}, separators=(",", ":"))], stream)
        return
    titles, cells = _texts(columns, rows)
    if not rows:
        _write([f"no {key.replace('_', ' ')}"], stream)
    elif kind == "rich":
        _rich(titles, cells, stream)
    else:
        _plain(titles, cells, stream)


def render_status(rows: Sequence[Row], kind: str, stream: TextIO, proofs: bool = False) -> None:
    """The hosts of `b9prov status`. Rows have STATUS_COLUMNS as keys (what is unknown, None or
    absent; `last_keepalive_age` in seconds) and may have `reason` and `advice`; with `proofs` what
    `forward` and `reverse` say is shown too."""
    render_table(STATUS_COLUMNS, rows, kind, stream, "hosts")
    if kind != "json":
        shown = [line for row in rows for line in _proofs(row)] if proofs else []
        _write([*shown, *status_lines(rows)], stream)


def status_lines(rows: Sequence[Row]) -> list[str]:
    """Why hosts are not ready, and how many are."""
    lines = []
    for row in rows:
        if row.get("reason") and not row.get("ready"):
            lines.append(trouble_line(row))
    if rows:
        ready = sum(bool(row.get("ready")) for row in rows)
        lines.append(f"{ready} of {len(rows)} ready")
    return lines


def trouble_line(row: Row) -> str:
    """`name: reason (advice)` of a row that is not well."""
    advice = f" ({one_line(row['advice'])})" if row.get("advice") else ""
    return f"{row['name']}: {one_line(row['reason'])}{advice}"


def _proofs(row: Row) -> list[str]:
    ways = {way: row[way] for way in ("forward", "reverse") if row.get(way)}
    return [
        f"{row['name']}: {way} {'up' if found['ok'] else 'down'}: {one_line(found['proof'])}"
        for way, found in ways.items()
    ]


def render_network(rows: Sequence[Row], kind: str, stream: TextIO) -> None:
    """What `b9prov nettest` measured. Rows have NETWORK_COLUMNS as keys (`gbps` and `wanted` in
    Gbit/s; what is unknown, None or absent), and those that are not ok a `reason` and a `fix`."""
    render_table(NETWORK_COLUMNS, rows, kind, stream, "directions")
    if kind == "json":
        return
    bad = [row for row in rows if not row["ok"]]
    lines = []
    for row in bad:
        ends = f"{row['from']} to {row['to']}" if row.get("to") else str(row["from"])
        fix = f" ({one_line(row['fix'])})" if row.get("fix") else ""
        lines.append(f"{ends}: {one_line(row['reason'])}{fix}")
    if rows:
        lines.append(f"{len(rows) - len(bad)} of {len(rows)} fast enough")
    _write(lines, stream)


def render_proofs(rows: Sequence[Row], kind: str, stream: TextIO) -> None:
    """What `b9prov verify` proved. Rows have `name`, `ok`, `steps` (rows of `step`, `ok` and
    `seconds`), `job` (of one that ran: `image`, `nodes`, `seconds`; else None), and those that are
    not ok a `reason` and an `advice`."""
    steps = [{"name": row["name"], **step} for row in rows for step in row["steps"]]
    if kind == "json":
        render_table((), rows, kind, stream, "hosts")
        return
    render_table(("name", "step", "ok", "seconds"), steps, kind, stream, "steps")
    lines = []
    for row in rows:
        job = row.get("job")
        if job:
            took = f" in {job['seconds']:g} s" if job["seconds"] is not None else ""
            lines.append(f"{row['name']}: a Job of {one_line(job['image'])} ended well{took}")
        if not row["ok"]:
            lines.append(trouble_line(row))
    lines.append(f"{sum(bool(row['ok']) for row in rows)} of {len(rows)} proven")
    _write(lines, stream)


def _write(lines: Iterable[str], stream: TextIO) -> None:
    out = Writer(stream)
    for line in lines:
        out.line(line)
    out.close()


def json_row(row: Row) -> dict[str, Any]:
    """The row as JSON may show it."""
    shown: dict[str, Any] = masked(row)
    # The name is an identifier: a password that happens to be part of it must not change it.
    return shown | {"name": row["name"]} if "name" in row else shown


def _cell(column: str, value: Any) -> str:
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if column.endswith("_age") and isinstance(value, (int, float)):
        return f"{duration(value)} ago"
    if column == "seconds" and isinstance(value, (int, float)):
        return f"{value:.2f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(one_line(item) for item in value) or "-"
    return str(value) if column == "name" else one_line(value)


def _plain(titles: list[str], cells: list[list[str]], stream: TextIO) -> None:
    lines = [[title.upper() for title in titles], *cells]
    widths = [max(len(line[index]) for line in lines) for index in range(len(titles))]
    padded = ([cell.ljust(wide) for cell, wide in zip(line, widths, strict=True)] for line in lines)
    _write(("  ".join(line).rstrip() for line in padded), stream)


def _rich(titles: list[str], cells: list[list[str]], stream: TextIO) -> None:
    table = _table(titles, cells, overflow="fold", max_width=_WIDEST)
    console = Console(file=stream, highlight=False, markup=False, emoji=False)
    # Where it is too wide, the terminal wraps its lines, rather than the table its words.
    wide = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum
    console.width = max(console.width, wide)
    console.print(table)


def live_table(columns: Sequence[str], rows: Sequence[Row], console: Console) -> Table:
    """The rows for a part of the screen: the last columns go where they don't fit, then what is
    long is cut."""
    shown = list(columns)
    while True:
        table = _table(*_texts(shown, rows), overflow="ellipsis", no_wrap=True)
        wide = Measurement.get(console, console.options.update(max_width=_UNBOUNDED), table).maximum
        if wide <= console.width or len(shown) <= _LEAST:
            return table
        shown.pop()


def _texts(columns: Sequence[str], rows: Sequence[Row]) -> tuple[list[str], list[list[str]]]:
    titles = [_TITLES.get(column, column.replace("_", " ")) for column in columns]
    return titles, [[_cell(column, row.get(column)) for column in columns] for row in rows]


def _table(titles: list[str], cells: list[list[str]], **columns: Any) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    table.padding = (0, 1, 0, 0)
    for title in titles:
        table.add_column(title, **columns)
    for line in cells:
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in line))
    return table
