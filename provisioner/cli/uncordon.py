"""`b9prov uncordon`."""

from __future__ import annotations

from typing import Any

import click

from provisioner.cli.nodes import node_options, set_nodes
from provisioner.cli.options import Request


@click.command(short_help="Let new pods on a worker's node again.")
@node_options
def uncordon(host: str, **options: Any) -> int:
    """Let new pods on HOST's node again, after `cordon` or `drain`. HOST may be a pattern, as for
    --limit.
    """
    return set_nodes("uncordon", Request(limit=host, **options))
