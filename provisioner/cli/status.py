"""`b9prov status`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    PATH,
    Request,
    connection_options,
    output_kind,
    output_option,
    source_options,
    variable_options,
)
from provisioner.cli.session import Session, open_session
from provisioner.engine.host import HostState
from provisioner.paths import shipped_playbook
from provisioner.report.tables import STATUS_COLUMNS, render_status

FACT = "b9_status"  # the variable in which the playbook leaves what it found
Row = dict[str, Any]


@click.command()
@click.argument("inventory", type=PATH, required=False)
@source_options
@variable_options
@connection_options
@output_option()
def status(output: str | None, inventory: Path | None, **options: Any) -> int:
    """Show which hosts are ready, and why others are not.

    INVENTORY is ./inventory.yaml when it is not given. The exit code is 0 when all are ready.
    """
    return show_status(Request(inventory=inventory, output=output, **options))


def show_status(request: Request) -> int:
    """Ask all hosts and show the answer; the exit code."""
    session = open_session(request, shipped_playbook("status", request.playbooks), {})
    rows = ask_status(session)
    if rows is None:
        say("interrupted: nothing was changed")
        return INTERRUPTED
    render_status(rows, output_kind(request.output), sys.stdout)
    return 0 if all(row["ready"] for row in rows) else FAILED


def ask_status(session: Session) -> list[Row] | None:
    """What is known of each host of the session, as `render_status` takes it; None when the
    user interrupted it."""
    hosts = session.ask()
    return None if hosts is None else [_row(host) for host in hosts]


def _row(host: HostState) -> Row:
    row: Row = dict.fromkeys(STATUS_COLUMNS)
    row |= {"name": host.name, "ready": False, "pool": host.target.variables.get("pool")}
    found = host.left(FACT)
    if isinstance(found, dict):
        row |= found
    if not host.summary.well:
        row |= {"ready": False, "reason": host.summary.reason, "advice": host.summary.advice}
    elif not isinstance(found, dict):
        row["reason"] = f"the playbook left no {FACT} of this host"
    return _with_age(row)


def _with_age(row: Row) -> Row:
    """The row with how long ago the last keepalive was, in place of when."""
    last = row.pop("last_keepalive", None)
    if last and row["last_keepalive_age"] is None:
        row["last_keepalive_age"] = round(max(0.0, time.time() - float(last)), 1)
    return row | {"name": str(row["name"]), "ready": bool(row["ready"])}
