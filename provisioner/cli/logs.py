"""`b9prov logs`."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli.asking import with_passwords
from provisioner.cli.completing import complete_hosts
from provisioner.cli.failures import FAILED
from provisioner.cli.options import EXTRA_VARS, PATH, Request, host_keys_option
from provisioner.cli.sources import one_host, read_inventory
from provisioner.inventory import parse_extra
from provisioner.report.text import clean
from provisioner.ssh.connect import connect, hang_up
from provisioner.ssh.stream import stream_as_root

UNITS = {"tunnel": "b9-tunnel", "agent": "b9agent", "k3s": "k3s", "ollama": "ollama"}


@click.command(short_help="Show the journal of a worker's tunnel, agent, k3s or Ollama.")
@click.argument("inventory", type=PATH)
@click.argument("host", shell_complete=complete_hosts)
@click.argument("part", type=click.Choice(tuple(UNITS)), required=False)
@click.option("-f", "--follow", is_flag=True, help="Go on with what is written from now on.")
@click.option(
    "-n",
    "--lines",
    type=click.IntRange(min=0),
    default=50,
    show_default=True,
    help="How many to begin with.",
)
@click.option("--since", metavar="WHEN", help='As journalctl has it: "1 hour ago", 2026-01-31.')
@EXTRA_VARS
@host_keys_option
def logs(
    inventory: Path,
    host: str,
    part: str | None,
    follow: bool,
    lines: int,
    since: str | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
) -> int:
    """Show what HOST's journal has of the parts that b9prov installs, all of them or one."""
    request = Request(inventory=inventory, limit=host, extra_vars=extra_vars, host_keys=host_keys)
    loaded = with_passwords(read_inventory(inventory, parse_extra(list(extra_vars))), request)
    chosen = one_host(loaded, host)
    units = [UNITS[part]] if part else list(UNITS.values())
    command = ["journalctl", "--no-pager", "--output=short-iso", f"--lines={lines}"]
    command += [f"--unit={unit}" for unit in units]
    command += ["--follow"] if follow else []
    command += [f"--since={since}"] if since else []
    connection = connect(chosen, host_keys)
    try:
        code = stream_as_root(
            connection, command, chosen.become_password, lambda line: click.echo(clean(line))
        )
    finally:
        hang_up(connection)
    return FAILED if code else 0
