"""What `b9prov doctor` found: causes with evidence and way out, and what follows from each.

Rows are `host, code, title, what, cause, fix, evidence, severity, follows`; see docs/doctor.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

from provisioner.report.text import masked, one_line

Row = Mapping[str, Any]
_LABELS = {"cause": "why", "evidence": "seen", "fix": "do", "follows": "so"}
_WIDTH = 6
_STYLES = {"fix": "cyan", "evidence": "dim", "follows": "dim"}


def render_findings(
    rows: Sequence[Row], mended: Sequence[Row], kind: str, stream: TextIO, **more: Any
) -> None:
    """Show them. `mended` are those that were found before and are no more; `more` goes into the
    JSON object beside them."""
    if kind == "json":
        parts = {"findings": list(rows), "mended": list(mended), **more}
        shown = {key: masked(value) for key, value in parts.items()}
        stream.write(json.dumps({"schema": 1, **shown}, separators=(",", ":")) + "\n")
        return
    console = Console(
        file=stream,
        highlight=False,
        markup=False,
        emoji=False,
        no_color=kind == "plain" or None,
        soft_wrap=True,  # so that commands can be copied as they are
    )
    for row in mended:
        console.print(Text(f"mended: {_headline(row)}", style="green"))
    causes = [row for row in rows if not row["follows"]]
    for row in causes:
        style = "yellow" if row["severity"] == "note" else "bold red"
        console.print(Text(_headline(row), style=style))
        own = {"host": row["host"], "code": row["code"]}
        for part, line in _lines(row, [each for each in rows if each["follows"] == own]):
            label = Text(f"  {_LABELS[part]:<{_WIDTH}}", style="dim")
            console.print(label.append(line, style=_STYLES.get(part, "default")))


def _headline(row: Row) -> str:
    note = "note: " if row["severity"] == "note" else ""
    return f"{note}{row['host']}: {one_line(row['what'])} [{row['code']}]"


def _lines(row: Row, consequences: Sequence[Row]) -> Iterator[tuple[str, str]]:
    yield "cause", one_line(row["cause"])
    for line in row["evidence"]:
        yield "evidence", one_line(line)
    yield "fix", one_line(row["fix"])
    for each in consequences:
        yield "follows", _headline(each)
