"""`b9prov play`."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli.options import PATH, Request, run_options
from provisioner.cli.run_called import run_called


@click.command()
@click.argument("playbook", type=PATH)
@click.option("-i", "--inventory", type=PATH, help="The inventory; by default ./inventory.yaml.")
@run_options
def play(request: Request, playbook: Path) -> int:
    """Run PLAYBOOK, written in the language of Ansible's playbooks."""
    words = ["b9prov", "play", str(playbook), *["-i"] * bool(request.inventory)]
    return run_called(request, playbook, words)
