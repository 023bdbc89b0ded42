"""`b9prov up`."""

from __future__ import annotations

import click

from provisioner.cli.options import PATH, Request, run_options
from provisioner.cli.run_called import run_called
from provisioner.paths import shipped_playbook


@click.command()
@click.argument("inventory", type=PATH, required=False)
@run_options
def up(request: Request) -> int:
    """Make hosts ready workers, from bare Debian on.

    INVENTORY is ./inventory.yaml when it is not given. Running it again changes only what is not
    as described.
    """
    return bring_up(request)


def bring_up(request: Request) -> int:
    """Run the playbook `up`; the exit code."""
    return run_called(request, shipped_playbook("up", request.playbooks), ["b9prov", "up"])
