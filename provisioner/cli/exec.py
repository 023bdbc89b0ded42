"""`b9prov exec`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from provisioner.cli.completing import complete_hosts
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    EXTRA_VARS,
    PATH,
    Request,
    connection_options,
    output_kind,
    output_option,
)
from provisioner.cli.session import open_session
from provisioner.engine.host import HostState
from provisioner.paths import shipped_playbook
from provisioner.report.outputs import render_outputs

FACT = "b9_exec"  # the variable in which the playbook leaves how the command ended
Row = dict[str, Any]


@click.command(short_help="Run a command on many hosts, as root.")
@click.argument("inventory", type=PATH)
@click.argument("pattern", shell_complete=complete_hosts)
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND…")
@EXTRA_VARS
@connection_options
@output_option()
def exec(
    inventory: Path,
    pattern: str,
    command: tuple[str, ...],
    output: str | None,
    **options: Any,
) -> int:
    """Run COMMAND as root on the hosts of PATTERN, at once, and show what each said.

    PATTERN is as for --limit: names, groups, a*, !x. No shell is between: for one, the COMMAND is
    sh -c '…'. The exit code is 0 when it was 0 on all.
    """
    request = Request(inventory=inventory, limit=pattern, output=output, **options)
    session = open_session(request, shipped_playbook("exec", None), {"exec_command": list(command)})
    hosts = session.ask()
    if hosts is None:
        say("interrupted: where it had begun, it may still run")
        return INTERRUPTED
    rows = [_row(host) for host in hosts]
    render_outputs(rows, output_kind(request.output), sys.stdout)
    return 0 if all(row["rc"] == 0 for row in rows) else FAILED


def _row(host: HostState) -> Row:
    """How it ended on a host; `rc` is None where it was not run."""
    found = host.left(FACT)
    if not host.summary.well or not isinstance(found, dict):
        reason = host.summary.reason or "it was not run"
        return {"name": host.name, "rc": None, "reason": reason, "advice": host.summary.advice}
    said = {name: found.get(name) or "" for name in ("stdout", "stderr")}
    if "rc" not in found:
        said["stderr"] = said["stderr"] or str(found.get("msg", ""))
    return {"name": host.name, "rc": found.get("rc", 127), **said}
