"""What `b9prov cordon`, `uncordon` and `drain` share."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    CHECK,
    EXTRA_VARS,
    PATH,
    Request,
    connection_options,
    output_kind,
    output_option,
    with_options,
)
from provisioner.cli.recording import noted
from provisioner.cli.session import open_session
from provisioner.engine.host import HostState
from provisioner.journal import Record
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_table, trouble_line

FACT = "b9_node"  # the variable in which the playbook leaves what came of it
COLUMNS = ("name", "node", "takes_pods", "changed", "evicted", "stays")
STATES = {"cordon": "closed", "drain": "drained", "uncordon": "open"}
FORGOTTEN_SECONDS = 300  # after which the gateway forgets a machine without keepalives
Command = Callable[..., Any]
Row = dict[str, Any]


def node_options(command: Command) -> Command:
    """What the three commands take."""
    options = (
        click.argument("inventory", type=PATH),
        click.argument("host"),
        EXTRA_VARS,
        connection_options,
        output_option(),
        CHECK,
    )
    return with_options(command, options)


def set_nodes(verb: str, request: Request, seconds: int | None = None) -> int:
    """Give the nodes of the request's hosts the state of `verb`, say what it means; the exit code.

    `seconds` are those that pods may take to end; None: as the inventory says.
    """
    magic = {"node_state": STATES[verb], "node_verb": verb, "node_timeout": seconds}
    session = open_session(request, shipped_playbook("node", None), magic)
    inventory, pattern = str(request.inventory), str(request.limit)
    command = shlex.join(["b9prov", verb, inventory, pattern])
    record = Record(command, "", str(Path(inventory).resolve()), check=request.check)
    with noted(record):
        hosts = session.ask()
        if hosts is not None:
            rows = [_row(host, verb) for host in hosts]
            record.exit_code = 0 if all(row["ok"] for row in rows) else FAILED
    if hosts is None:
        say("interrupted: the node may be closed already; the same command goes on")
        return INTERRUPTED
    kind = output_kind(request.output)
    shown = rows if kind == "json" else [row for row in rows if row["node"]]
    if shown:
        render_table(COLUMNS, shown, kind, sys.stdout, "nodes")
    if kind != "json":
        _tell(rows)
        closed = [row["name"] for row in rows if row["node"] and verb != "uncordon"]
        if closed and not request.check:
            _tell_of_gateway(inventory, closed)
    return FAILED if record.exit_code else 0


def _row(host: HostState, verb: str) -> Row:
    found = host.left(FACT)
    left = found if isinstance(found, dict) and host.summary.well else {}
    # what stays keeps a drain from its end, and the node closed all the same
    known = bool(left) and (not left.get("failed") or "stays" in left)
    row: Row = {"name": host.name, "ok": bool(left) and not left.get("failed")}
    row["node"] = left.get("node") if known else None
    row["takes_pods"] = verb == "uncordon" if known else None
    row |= {key: left.get(key) if known else None for key in ("changed", "evicted", "stays")}
    if not row["ok"]:
        advice = left.get("advice") or host.summary.advice
        row |= {"reason": left.get("msg") or host.summary.reason, "advice": advice}
    return row


def _tell(rows: list[Row]) -> None:
    for row in rows:
        if not row["ok"]:
            say(trouble_line(row))


def _tell_of_gateway(inventory: str, names: list[str]) -> None:
    """The gateway knows nothing of nodes."""
    chosen = ",".join(names)
    stop = shlex.join(["b9prov", "exec", inventory, chosen, "--", "systemctl", "stop", "b9agent"])
    open_again = shlex.join(["b9prov", "uncordon", inventory, chosen])
    say(
        f"the gateway is not told: while it lists {chosen} as ready it still makes Jobs there, "
        f"whose pods wait until {open_again}"
    )
    say(f"to have it send work elsewhere, within {FORGOTTEN_SECONDS} s: {stop}")
