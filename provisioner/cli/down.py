"""`b9prov down`."""

from __future__ import annotations

import click

from provisioner.cli.confirm import confirmed
from provisioner.cli.failures import FAILED
from provisioner.cli.options import PATH, Request, run_options
from provisioner.cli.run_playbook import run_playbook, source_words
from provisioner.cli.session import Session, open_session
from provisioner.paths import shipped_playbook


@click.command()
@click.argument("inventory", type=PATH, required=False)
@run_options
@click.option("--keep-data", is_flag=True, help="Keep downloaded models.")
@click.option("--yes", is_flag=True, help="Don't ask.")
def down(request: Request, keep_data: bool, yes: bool) -> int:
    """Undo `up`: deregister the machines, revoke keys, remove services, users and files.

    INVENTORY is ./inventory.yaml when it is not given.
    """
    playbook = shipped_playbook("down", request.playbooks)
    session = open_session(request, playbook, {"keep_data": keep_data})
    if not (yes or request.check or _confirmed(session)):
        return FAILED
    words = ["b9prov", "down", *source_words(request), "--yes"]
    return run_playbook(session, request, words + ["--keep-data"] * keep_data)


def _confirmed(session: Session) -> bool:
    hosts = session.inventory.select(session.options.limit)
    names = ", ".join(host.name for host in hosts)
    return confirmed(f"Undo {names}?", f"down undoes {names}, and nobody is here to confirm")
