"""`b9prov status`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import PATH, Request, host_options, output_kind, output_option
from provisioner.cli.session import Session, open_session
from provisioner.cli.workers import ask_status
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_status


@click.command()
@click.argument("inventory", type=PATH, required=False)
@click.option("-w", "--watch", is_flag=True, help="Ask again and again, until Ctrl-C.")
@click.option(
    "--interval",
    type=click.FloatRange(min=0.2),
    default=5,
    show_default=True,
    metavar="SECONDS",
    help="With --watch: between two rounds.",
)
@click.option("-v", "--verbose", is_flag=True, help="Show what proves that the tunnel is up.")
@host_options
@output_option()
def status(
    output: str | None,
    inventory: Path | None,
    watch: bool,
    interval: float,
    verbose: bool,
    **options: Any,
) -> int:
    """Show which hosts are ready, and why others are not.

    INVENTORY is ./inventory.yaml when it is not given. The exit code is 0 when all are ready; with
    --watch, which ends with Ctrl-C, it is 0.
    """
    request = Request(inventory=inventory, output=output, **options)
    if not watch:
        return show_status(request, verbose)
    from provisioner.cli.watching import watch_status

    session = status_session(request)
    return watch_status(session, interval, output_kind(output))


def status_session(request: Request) -> Session:
    """For the playbook that asks. Raises BadInput."""
    return open_session(request, shipped_playbook("status", request.playbooks), {})


def show_status(request: Request, proofs: bool = False) -> int:
    """Ask all hosts and show the answer; the exit code."""
    rows = ask_status(status_session(request))
    if rows is None:
        say("interrupted: nothing was changed")
        return INTERRUPTED
    render_status(rows, output_kind(request.output), sys.stdout, proofs)
    return 0 if all(row["ready"] for row in rows) else FAILED
