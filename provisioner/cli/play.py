"""`b9prov play`."""

from __future__ import annotations

from pathlib import Path

import click

from provisioner.cli.options import PATH, Request, run_options


@click.command()
@click.argument("playbook", type=PATH)
@click.option("-i", "--inventory", type=PATH, help="The inventory; by default ./inventory.yaml.")
@run_options
def play(request: Request, playbook: Path) -> int:
    """Run PLAYBOOK, written in the language of Ansible's playbooks."""
    from provisioner.cli.calling import call_hosts

    called = call_hosts(request, playbook)
    # the greater part of the program, for which the hosts need not wait
    from provisioner.cli.run_playbook import run_playbook, source_words
    from provisioner.cli.session import agent_zipapp, open_session

    session = open_session(request, playbook, {"b9agent_pyz": agent_zipapp()}, called)
    words = [
        "b9prov",
        "play",
        str(playbook),
        *["-i"] * bool(request.inventory),
        *source_words(request),
    ]
    return run_playbook(session, request, words)
