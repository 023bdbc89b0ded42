"""`b9prov dashboard`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from provisioner.cli.asking import unlock_keys
from provisioner.cli.options import (
    EXTRA_VARS,
    LIMIT,
    PATH,
    Request,
    host_keys_option,
    source_options,
)
from provisioner.cli.sources import watched_workers


@click.command()
@click.argument("inventory", type=PATH, required=False)
@source_options
@LIMIT
@EXTRA_VARS
@click.option(
    "--forks",
    type=click.IntRange(min=1),
    default=20,
    show_default=True,
    help="Hosts that are called at once; all are watched.",
)
@host_keys_option
def dashboard(
    inventory: Path | None,
    hosts: tuple[str, ...],
    gateway_host: str | None,
    pool: str | None,
    limit: str | None,
    extra_vars: tuple[str, ...],
    forks: int,
    host_keys: str,
) -> int:
    """Watch the workers of INVENTORY on a terminal.

    It asks each worker's agent over SSH, again and again, and changes nothing.
    """
    if not (sys.stdin.isatty() and sys.stdout.isatty()) or os.environ.get("TERM") == "dumb":
        raise click.UsageError("this is no terminal; `b9prov status` tells it without one")
    request = Request(inventory, hosts, gateway_host, pool, limit, extra_vars=extra_vars)
    chosen = watched_workers(request)
    unlock_keys(chosen)
    from provisioner.dashboard.app import Dashboard
    from provisioner.dashboard.reach import Reach

    app = Dashboard(chosen, Reach(host_keys, forks))
    app.run()
    return app.return_code or 0
