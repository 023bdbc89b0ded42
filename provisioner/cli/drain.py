"""`b9prov drain`."""

from __future__ import annotations

from typing import Any

import click

from provisioner.cli.nodes import node_options, set_nodes
from provisioner.cli.options import Request


@click.command(short_help="End the pods on a worker's node, and let no new ones in.")
@node_options
@click.option(
    "--timeout",
    type=click.IntRange(1, 86400),
    metavar="SECONDS",
    help="How long pods may take to end. By default: k3s.drain_timeout.",
)
def drain(host: str, timeout: int | None, **options: Any) -> int:
    """Evict the pods of HOST's node, and let no new ones in; HOST may be a pattern, as for --limit.

    What does not end in time is named and left; the node stays closed until `b9prov uncordon`. The
    gateway is not told: its Jobs wait. The exit code is 0 when no pod is left.
    """
    return set_nodes("drain", Request(limit=host, **options), timeout)
