"""`b9prov cordon`."""

from __future__ import annotations

from typing import Any

import click

from provisioner.cli.nodes import node_options, set_nodes
from provisioner.cli.options import Request


@click.command(short_help="Let no new pods on a worker's node.")
@node_options
def cordon(host: str, **options: Any) -> int:
    """Let no new pods on HOST's node; those that run go on. HOST may be a pattern, as for --limit.

    It stays so until `b9prov uncordon`, or until `up` upgrades k3s. The gateway is not told: its
    Jobs wait.
    """
    return set_nodes("cordon", Request(limit=host, **options))
