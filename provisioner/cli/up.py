"""`b9prov up`."""

from __future__ import annotations

import click

from provisioner.cli.options import PATH, Request, run_options


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
    from provisioner.cli.calling import call_hosts
    from provisioner.paths import shipped_playbook

    playbook = shipped_playbook("up", request.playbooks)
    called = call_hosts(request, playbook)
    # the greater part of the program, for which the hosts need not wait
    from provisioner.cli.run_playbook import run_playbook, source_words
    from provisioner.cli.session import agent_zipapp, open_session

    session = open_session(request, playbook, {"b9agent_pyz": agent_zipapp()}, called)
    return run_playbook(session, request, ["b9prov", "up", *source_words(request)])
