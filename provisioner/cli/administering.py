"""How `machine` and `pool` reach the gateway as its administrator."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.asking import with_passwords
from provisioner.cli.options import EXTRA_VARS, PATH, Request, host_keys_option
from provisioner.cli.recording import noted
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.errors import BadInput, Source
from provisioner.gateway.channel_http import session_over
from provisioner.gateway.client import GatewayClient
from provisioner.inventory import GATEWAY, Inventory
from provisioner.journal import Record
from provisioner.ssh.connect import Unreachable, connect

Command = Callable[..., Any]


def inventory_options(command: Command) -> Command:
    """The inventory that names the gateway, and how to read it."""
    for option in (
        host_keys_option,
        EXTRA_VARS,
        click.argument("inventory", type=PATH, required=False),
    ):
        command = option(command)
    return command


def administered(path: Path | None, extra_vars: tuple[str, ...]) -> Inventory:
    """The inventory, good enough to administer its gateway. Raises BadInput."""
    request = Request(inventory=path, extra_vars=extra_vars)
    loaded = open_inventory(request, extra_variables(request))
    gateway, where = loaded.gateway, Source(loaded.source)
    if not (gateway.url or gateway.host):
        advice = "the SSH address of the gateway host, or the URL of the API"
        raise BadInput.of("gateway: host or url is needed", where, advice)
    if not gateway.admin_token:
        advice = "for instance `admin_token: !env B9_ADMIN_TOKEN`"
        raise BadInput.of("gateway.admin_token is needed", where, advice)
    return loaded if gateway.url else with_passwords(loaded, replace(request, limit=GATEWAY))


def pools_of(inventory: Inventory) -> list[str]:
    """The pools that its hosts are in."""
    return list(dict.fromkeys(host.variables["pool"] for host in inventory.hosts.values()))


@contextmanager
def noted_as(inventory: Inventory, *words: str) -> Iterator[None]:
    """The audit log knows of what `b9prov WORDS` does in the block."""
    command = shlex.join(["b9prov", *words])
    with noted(Record(command, "", str(Path(inventory.source).resolve()))) as record:
        yield
        record.exit_code = 0


@contextmanager
def client(inventory: Inventory, host_keys: str) -> Iterator[GatewayClient]:
    """Asks the gateway, through SSH to its host or at its URL. Raises Unreachable, GatewayError."""
    gateway = inventory.gateway
    assert gateway.admin_token
    if gateway.url:
        yield GatewayClient(gateway.url, gateway.admin_token)
        return
    assert gateway.host
    # What paramiko logs, tracebacks and all, comes back as errors with a reason.
    logging.getLogger("paramiko").addHandler(logging.NullHandler())
    try:
        connection = connect(gateway.host, host_keys)
    except Unreachable as error:
        raise Unreachable(f"the gateway host: {error.reason}", error.advice) from None
    with connection:
        session = session_over(connection.transport)
        yield GatewayClient(f"http://{gateway.api}", gateway.admin_token, session)
