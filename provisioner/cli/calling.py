"""Calls hosts while the rest of the program is loaded and the playbook is read and checked.

What a host does when it is called takes as long as that: the login, sudo, the start of a Python.
Nothing is done on it before all that was asked for is found good.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from provisioner.cli.asking import with_passwords
from provisioner.cli.options import Request
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.errors import BadInput
from provisioner.inventory import Host, Inventory
from provisioner.ssh.pool import Pool
from provisioner.yamlsource import load_yaml

IMPORTS = 10  # playbooks that may import each other before the first play


class Called(NamedTuple):
    """What a run is made of besides its playbook."""

    extra: dict[str, Any]
    inventory: Inventory
    pool: Pool


def call_hosts(request: Request, playbook: Path) -> Called:
    """Read the inventory, and begin to connect to the hosts that the first play begins with.

    Raises BadInput for the inventory; what is wrong with the playbook is for others to say.
    """
    extra = extra_variables(request)
    inventory = with_passwords(open_inventory(request, extra), request)
    pool = Pool(request.host_keys, request.lock_wait, frozenset(inventory.gateway.hosts))
    if request.executor is None:
        with contextlib.suppress(BadInput):
            hosts, user = _first(request, inventory, playbook)
            for host in hosts[: request.forks]:
                pool.call(host, user)
    return Called(extra, inventory, pool)


def _first(request: Request, inventory: Inventory, playbook: Path) -> tuple[list[Host], str | None]:
    """The hosts that are worked on first, and as which user. Raises BadInput."""
    play = _first_play(playbook)
    become, user, pattern = (play.get(key) for key in ("become", "become_user", "hosts"))
    # with `serial`, most hosts would be kept waiting
    if not isinstance(pattern, str) or "serial" in play or "{{" in str(user):
        return [], None
    chosen = {host.name for host in inventory.chosen(request.limit, request.shard)}
    hosts = [host for host in inventory.played_on(pattern) if host.name in chosen]
    return hosts, (user or "root") if become is True else None


def _first_play(path: Path) -> dict[str, Any]:
    for _ in range(IMPORTS):
        plays = load_yaml(path)
        first = plays[0] if isinstance(plays, list) and plays else None
        if not isinstance(first, dict):
            break
        if "import_playbook" not in first:
            return first
        path = path.parent / str(first["import_playbook"])
    return {}
