"""What is asked once, on a terminal, and kept for this run alone: passphrases, sudo's password."""

from __future__ import annotations

import contextlib
import getpass
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import click

from provisioner.cli.failures import say
from provisioner.cli.options import Request
from provisioner.errors import BadInput
from provisioner.inventory import Host, Inventory
from provisioner.secrets import Secret
from provisioner.ssh.connect import connection_to
from provisioner.ssh.identities import Identities, unlock

TRIES = 3  # of a passphrase


def with_passwords(inventory: Inventory, request: Request) -> Inventory:
    """The inventory with the password that -K asks for, and its private keys unlocked.

    Without a terminal keys stay as they are, and -K is refused. Raises BadInput.
    """
    if _is_terminal():
        with contextlib.suppress(BadInput):  # a limit that fits no host is told by the run
            chosen = inventory.chosen(request.limit, request.shard)
            unlock_keys([*chosen, *inventory.gateway.hosts.values()])
    if not request.ask_become_pass:
        return inventory
    if not _is_terminal():
        advice = "give it as become_password in the inventory, by !env, !file or !command"
        raise BadInput.of("nobody is here to be asked for sudo's password (-K)", advice=advice)
    password = _ask("sudo's password: ")
    gateway = inventory.gateway
    return replace(
        inventory,
        hosts={name: _with(host, password) for name, host in inventory.hosts.items()},
        gateway=replace(
            gateway,
            host=gateway.host and _with(gateway.host, password),
            standby=tuple(
                replace(each, host=_with(each.host, password)) for each in gateway.standby
            ),
        ),
    )


def unlock_keys(hosts: Iterable[Host]) -> None:
    """Ask for the passphrases of keys without which there is none to log in with, once each."""
    asked: set[Path] = set()
    for keys in _keys_of(hosts):
        for file in keys.locked():
            if file not in asked:
                asked.add(file)
                _unlock(file)


def _keys_of(hosts: Iterable[Host]) -> Iterator[Identities]:
    """Of the hosts and of those on the way there."""
    # a file is the same wherever it leads to, and a fleet has one for all
    alike = {(host.identity_file, host.jump or host.name): host for host in hosts}
    for host in alike.values():
        connection = connection_to(host)
        while connection is not None and not isinstance(connection, str):
            yield connection.identities
            connection = connection.gateway


def _unlock(file: Path) -> None:
    for _ in range(TRIES):
        passphrase = _ask(f"passphrase of {file}: ")
        if not passphrase or unlock(file, passphrase.reveal()):
            return
        say("that is not its passphrase")


def _ask(prompt: str) -> Secret:
    try:
        return Secret(getpass.getpass(prompt, stream=sys.stderr))
    except EOFError:
        raise click.Abort from None


def _with(host: Host, password: Secret) -> Host:
    return host if host.become_password else replace(host, become_password=password)


def _is_terminal() -> bool:
    return sys.stdin is not None and sys.stdin.isatty() and sys.stderr.isatty()
