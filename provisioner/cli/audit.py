"""`b9prov audit`."""

from __future__ import annotations

import datetime
import re
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import INTERRUPTED
from provisioner.cli.gateway import ask_gateway, gateway_session
from provisioner.cli.options import (
    EXTRA_VARS,
    PATH,
    Request,
    connection_options,
    output_kind,
    output_option,
)
from provisioner.cli.recording import audit_path, journal_dir
from provisioner.journal.audit import commands
from provisioner.report.tables import render_table
from provisioner.report.text import names

COLUMNS = ("when", "where", "by", "what", "workers", "result")
_AGO = re.compile(r"([0-9]+)([smhdw])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
Row = dict[str, Any]


class Moment(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A date, a date and time, or how long ago; Unix seconds."""

    name = "WHEN"

    def convert(self, value: Any, param: Any, context: Any) -> float:
        """Fails for what is neither."""
        if isinstance(value, float):
            return value
        if ago := _AGO.fullmatch(str(value)):
            return time.time() - int(ago[1]) * _SECONDS[ago[2]]
        try:
            return datetime.datetime.fromisoformat(str(value)).timestamp()
        except ValueError:
            self.fail(f"{value!r} is no moment; write 2026-01-31, 2026-01-31T12:00 or 2h", param)


@click.command()
@click.argument("inventory", type=PATH, required=False)
@click.option("--worker", metavar="WORKER", help="Only what was done to this worker.")
@click.option(
    "--since",
    type=Moment(),
    default=0.0,
    help="Only since then: a date, a date and time, or how long ago, as 90m, 2h or 7d.",
)
@EXTRA_VARS
@connection_options
@output_option()
def audit(
    inventory: Path | None, worker: str | None, since: float, output: str | None, **options: Any
) -> int:
    """Show who did what to which worker, when, and how it ended.

    Without INVENTORY, what was done from this machine by this user. With it, also what the audit
    log of its gateway host has, whoever did it.
    """
    rows = _own(worker, since)
    if inventory:
        asked = {"audit_worker": worker or "", "audit_since": since}
        session = gateway_session(Request(inventory=inventory, **options), "audit", asked)
        entries = ask_gateway(session, "b9_audit")
        if entries is None:
            return INTERRUPTED
        rows += [{"where": host, "result": "done", **entry} for host, entry in entries]
    kind = output_kind(output)
    rows.sort(key=lambda row: float(row["time"]))
    render_table(
        COLUMNS, rows if kind == "json" else list(map(_readable, rows)), kind, sys.stdout, "entries"
    )
    return 0


def _own(worker: str | None, since: float) -> list[Row]:
    """What this machine's audit log has."""
    return [
        {"where": "controller", **entry}
        for entry in commands(audit_path(), journal_dir())
        if entry["time"] >= since and (worker is None or _is_about(entry, worker))
    ]


def _is_about(entry: Row, worker: str) -> bool:
    return worker in entry["hosts"] or worker in shlex.split(entry["command"])


def _readable(row: Row) -> Row:
    """The row with the columns that people are shown."""
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["time"]))
    workers = [row["worker"]] if "worker" in row else list(row["hosts"])
    check = ", check" if row.get("check") else ""
    return {
        "when": moment,
        "where": row["where"],
        "by": row["by"] or row.get("login"),
        "what": row.get("command") or row.get("action"),
        "workers": names(workers, 4),
        "result": f"{row['result']}{check}",
    }
