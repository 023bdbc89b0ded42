"""`b9prov web`."""

from __future__ import annotations

import threading
from pathlib import Path

import click

from provisioner.cli.asking import unlock_keys
from provisioner.cli.failures import say
from provisioner.cli.options import (
    EXTRA_VARS,
    LIMIT,
    PATH,
    Request,
    host_keys_option,
    source_options,
)
from provisioner.cli.sources import watched_workers
from provisioner.errors import BadInput


@click.command()
@click.argument("inventory", type=PATH, required=False)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    help="The port on 127.0.0.1. By default: a free one.",
)
@source_options
@LIMIT
@EXTRA_VARS
@host_keys_option
def web(
    inventory: Path | None,
    port: int | None,
    hosts: tuple[str, ...],
    gateway_host: str | None,
    pool: str | None,
    limit: str | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
) -> int:
    """Serve a page that shows the workers of INVENTORY, live, to a browser on this machine.

    It asks each worker over SSH, again and again, and changes nothing. The page is at 127.0.0.1
    alone, for whoever has the link that is printed, until Ctrl-C.
    """
    request = Request(inventory, hosts, gateway_host, pool, limit, extra_vars=extra_vars)
    chosen = watched_workers(request)
    unlock_keys(chosen)
    from provisioner.web.fleet import Fleet
    from provisioner.web.server import Server

    fleet = Fleet(chosen, host_keys)
    try:
        server = Server(fleet, port or 0)
    except OSError as error:
        raise BadInput.of(f"port {port} can't be had on 127.0.0.1: {error.strerror}") from None
    fleet.start()
    server.begin()
    try:
        click.echo(f"{server.url}\nuntil Ctrl-C")
        threading.Event().wait()
    except KeyboardInterrupt:
        say("closed")
    finally:
        fleet.close()
        server.close()
    return 0
