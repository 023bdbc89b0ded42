"""What a command said on many hosts: each line with its host's name, or one object."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from provisioner.report.stream import Writer
from provisioner.report.text import clean, masked, one_line

Row = Mapping[str, Any]


def render_outputs(rows: Sequence[Row], kind: str, stream: TextIO) -> None:
    """Show rows of `name`, `rc` (None where it was not run: then `reason` and `advice`), `stdout`
    and `stderr`; as JSON, `{"schema": 1, "hosts": rows}`."""
    out = Writer(stream)
    if kind == "json":
        shown = [{**masked(row), "name": row["name"]} for row in rows]
        out.line(json.dumps({"schema": 1, "hosts": shown}, separators=(",", ":")))
    else:
        wide = max((len(row["name"]) for row in rows), default=0)
        for row in rows:
            for line in _lines(row):
                out.line(f"{row['name'].ljust(wide)} | {line}".rstrip())
    out.close()


def _lines(row: Row) -> list[str]:
    if row["rc"] is None:
        advice = f" ({one_line(row['advice'])})" if row.get("advice") else ""
        return [f"not run: {one_line(row['reason'])}{advice}"]
    said = [*clean(row["stdout"]).splitlines(), *clean(row["stderr"]).splitlines()]
    return said + ([f"exit code {row['rc']}"] if row["rc"] or not said else [])
