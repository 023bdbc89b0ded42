"""`b9prov nettest`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.html import html_report
from provisioner.cli.options import PATH, REPORT, Request, host_options, output_kind, output_option
from provisioner.cli.session import open_session
from provisioner.engine.host import HostState
from provisioner.errors import BadInput
from provisioner.inventory import fields
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_network

FACT = "b9_network"  # the variable in which the playbook leaves what it measured
Row = dict[str, Any]


@click.command()
@click.argument("inventory", type=PATH, required=False)
@click.option(
    "--seconds",
    type=click.IntRange(1, 600),
    default=5,
    show_default=True,
    help="Of each direction.",
)
@click.option(
    "--streams",
    type=click.IntRange(1, 128),
    default=4,
    show_default=True,
    help="Connections side by side.",
)
@click.option(
    "--pairs",
    type=click.Choice(("ring", "all")),
    default="ring",
    show_default=True,
    help="Each worker to the next one, or to every other.",
)
@click.option(
    "--to",
    "servers",
    multiple=True,
    metavar="HOST:PORT",
    help="A further iperf3 server, such as a cache's; in place of network.servers.",
)
@host_options
@output_option()
@REPORT
def nettest(
    inventory: Path | None,
    seconds: int,
    streams: int,
    pairs: str,
    servers: tuple[str, ...],
    output: str | None,
    report: Path | None,
    **options: Any,
) -> int:
    """Measure the network between workers, to the gateway host and to further servers.

    It takes iperf3, which it installs where it is not there.
    One measurement at a time, both directions of each. Its servers run for that time alone. The
    exit code is 0 when every direction has network.min_gbps (15 Gbit/s where the inventory does not
    say). INVENTORY is ./inventory.yaml when it is not given.
    """
    request = Request(inventory=inventory, output=output, **options)
    asked: dict[str, Any] = {"seconds": seconds, "streams": streams, "pairs": pairs}
    if servers:
        asked["servers"] = [_endpoint(each) for each in servers]
    magic = {f"nettest_{name}": value for name, value in asked.items()}
    session = open_session(request, shipped_playbook("nettest", request.playbooks), magic)
    hosts = session.ask(html_report(report, request, ["b9prov", "nettest"]))
    if hosts is None:
        say("interrupted: its servers end by themselves")
        return INTERRUPTED
    rows = [row for host in hosts for row in _rows(host)]
    render_network(rows, output_kind(request.output), sys.stdout)
    return 0 if rows and all(row["ok"] for row in rows) else FAILED


def _rows(host: HostState) -> list[Row]:
    """What was measured from a host, and what went wrong with it."""
    rows: list[Row] = list(host.left(FACT) or ())
    if not host.summary.well:
        rows.append(
            {
                "from": host.name,
                "ok": False,
                "reason": host.summary.reason,
                "fix": host.summary.advice or "",
            }
        )
    return rows


def _endpoint(value: str) -> str:
    try:
        return str(fields.ENDPOINT(value))
    except fields.Unfit as error:
        raise BadInput.of(
            f"--to {value}: {error.message}", advice="such as 10.0.0.5:5201"
        ) from None
