"""`b9prov machine`."""

from __future__ import annotations

import json
import logging
import shlex
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from provisioner.cli.asking import with_passwords
from provisioner.cli.confirm import agreed
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import (
    PATH,
    Request,
    host_keys_option,
    output_kind,
    output_option,
)
from provisioner.cli.recording import noted
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.errors import BadInput, Source
from provisioner.gateway.channel_http import session_over
from provisioner.gateway.client import GatewayClient, Machine
from provisioner.inventory import GATEWAY, Gateway, Inventory
from provisioner.journal import Record
from provisioner.report.tables import render_table
from provisioner.secrets import revealed
from provisioner.ssh.connect import Unreachable, connect

COLUMNS = (
    "id",
    "cpu",
    "memory",
    "gpu",
    "status",
    "pool",
    "created_age",
    "last_keepalive_age",
    "agent_version",
    "free_gpus",
)
PENDING_SECONDS = 3600  # how long the gateway keeps the record of a machine that never registered
TUNNEL_PORT = 1994
Command = Callable[..., Any]


def _inventory_options(command: Command) -> Command:
    for option in (
        host_keys_option,
        click.option(
            "-e", "--extra-vars", multiple=True, metavar="NAME=VALUE", help="As for `up`."
        ),
        click.argument("inventory", type=PATH, required=False),
    ):
        command = option(command)
    return command


_POOL = click.option("--pool", metavar="POOL", required=True, help="The worker pool.")


@click.group()
def machine() -> None:
    """List, make and delete machine records at the gateway, as its administrator.

    The gateway is asked through SSH to its host, or directly when the inventory gives
    `gateway.url`. `gateway.admin_token` is needed. `up` and `down` make and delete the machines
    of their workers by themselves.
    """


@machine.command("list", short_help="Show the machines of the inventory's pools.")
@_inventory_options
@click.option("--pool", metavar="POOL", help="Only this pool. By default: those of all hosts.")
@output_option()
def list_(
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    pool: str | None,
    output: str | None,
) -> None:
    """Show the machines of the pools that INVENTORY names.

    INVENTORY is ./inventory.yaml when it is not given. In JSON, `cpu` is in millicores, `memory`
    in MiB, and times are Unix seconds.
    """
    loaded = _load(inventory, extra_vars)
    pools = _pools(loaded) if pool is None else [pool]
    with _client(loaded, host_keys) as client:
        machines = [each for name in pools for each in client.list_machines(name)]
    kind = output_kind(output)
    row = _row if kind == "json" else _readable
    render_table(COLUMNS, [row(each) for each in machines], kind, sys.stdout, "machines")


@machine.command(short_help="Make a machine and print its token.")
@_inventory_options
@_POOL
@output_option("plain", "json")
def create(
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    pool: str,
    output: str | None,
) -> None:
    """Make a machine, for a worker to be set up by hand; print its id, its token and the commands.

    INVENTORY is ./inventory.yaml when it is not given. The token is a secret, which the gateway
    shows this once. The machine is forgotten after an hour if no agent registers it. Workers
    that `up` sets up need none of this.
    """
    loaded = _load(inventory, extra_vars)
    with _noted(loaded, "create", "--pool", pool), _client(loaded, host_keys) as client:
        made = client.create_machine(pool)
    commands = manual_commands(loaded.gateway, made)
    if output == "json":
        shown = {"id": made.id, "pool": made.pool, "token": revealed(made.token)}
        expires = PENDING_SECONDS
        found = {"schema": 1, "machine": shown, "expires_seconds": expires, "commands": commands}
        click.echo(json.dumps(found))
    else:
        click.echo(f"Machine ID: {made.id}\nToken: {revealed(made.token)}\n")
        click.echo("# by hand, on the worker:")
        click.echo("\n".join(commands))
    say("warning: the token is a secret, and it is not shown again; keep it out of logs")
    say("warning: the machine is forgotten in an hour, if no agent has registered it by then")


@machine.command(short_help="Delete a machine.")
@click.argument("machine_id", metavar="ID")
@_inventory_options
@_POOL
@click.option("--yes", is_flag=True, help="Don't ask.")
def delete(
    machine_id: str,
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    pool: str,
    yes: bool,
) -> int:
    """Delete machine ID at the gateway.

    INVENTORY is ./inventory.yaml when it is not given. An agent that still runs with the machine's
    token brings the machine back: stop it first. `down` does both.
    """
    loaded = _load(inventory, extra_vars)
    if not (yes or sys.stdin.isatty()):
        raise BadInput.of(f"nobody is here to confirm that {machine_id} goes", advice="say --yes")
    with _client(loaded, host_keys) as client:
        known = {each.id: each for each in client.list_machines(pool)}
        if machine_id not in known:
            advice = f"there are {', '.join(known)}" if known else "it has none"
            raise click.ClickException(f"pool {pool} has no machine {machine_id!r} ({advice})")
        if not (yes or agreed(f"Delete machine {machine_id} ({known[machine_id].status})?")):
            return FAILED
        with _noted(loaded, "delete", machine_id, "--pool", pool):
            client.delete_machine(machine_id, pool)
    click.echo(f"machine {machine_id} of pool {pool} is deleted")
    return 0


def manual_commands(gateway: Gateway, made: Machine) -> list[str]:
    """What the guide has one type on the worker: the tunnel, if there is one, and the agent."""
    host, port, commands = "localhost", TUNNEL_PORT, []
    if gateway.url:
        parts = urlsplit(gateway.url)
        host = parts.hostname or ""
        port = parts.port or (443 if parts.scheme == "https" else 80)
    else:
        commands.append(_tunnel_command(gateway))
    agent = {
        "--token": revealed(made.token) or "",
        "--machine-id": made.id,
        "--pool-name": made.pool,
        "--gateway-host": host,
        "--gateway-port": str(port),
    }
    words = " ".join(f"{option} {shlex.quote(value)}" for option, value in agent.items())
    return [
        *commands,
        "cd /path/to/beta9",
        "pip install -r cmd/agent/requirements.txt",
        f"python -m cmd.agent {words}",
    ]


def _tunnel_command(gateway: Gateway) -> str:
    assert gateway.host
    address = gateway.tunnel_address or gateway.host.address
    port = gateway.tunnel_port or gateway.host.port
    target = f"{gateway.host.user}@{address}" if gateway.host.user else address
    words = ["ssh", "-fNL", f"{TUNNEL_PORT}:{gateway.api}", *(["-p", str(port)] * (port != 22))]
    return shlex.join([*words, target])


def _load(path: Path | None, extra_vars: tuple[str, ...]) -> Inventory:
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


@contextmanager
def _noted(inventory: Inventory, *words: str) -> Iterator[None]:
    """The audit log knows of what is done in the block."""
    command = shlex.join(["b9prov", "machine", *words])
    with noted(Record(command, "", str(Path(inventory.source).resolve()))) as record:
        yield
        record.exit_code = 0


def _pools(inventory: Inventory) -> list[str]:
    return list(dict.fromkeys(host.variables["pool"] for host in inventory.hosts.values()))


@contextmanager
def _client(inventory: Inventory, host_keys: str) -> Iterator[GatewayClient]:
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


def _row(shown: Machine) -> dict[str, Any]:
    return {
        "id": shown.id,
        "pool": shown.pool,
        "status": shown.status,
        "cpu": shown.cpu,
        "memory": shown.memory,
        "gpu": shown.gpu,
        "gpu_count": shown.gpu_count,
        "free_gpus": _free_gpus(shown),
        "created": shown.created or None,
        "created_age": _age(shown.created),
        "last_keepalive": shown.last_keepalive or None,
        "last_keepalive_age": _age(shown.last_keepalive),
        "agent_version": shown.agent_version or None,
    }


def _readable(shown: Machine) -> dict[str, Any]:
    """The row with quantities as the gateway's documents write them."""
    row = _row(shown)
    mib = shown.memory
    row["cpu"] = f"{shown.cpu}m" if shown.cpu else None
    row["memory"] = (f"{mib // 1024}Gi" if mib % 1024 == 0 else f"{mib}Mi") if mib else None
    if row["free_gpus"] is not None:
        row["free_gpus"] = f"{row['free_gpus']} of {shown.gpu_count}"
    return row


def _free_gpus(shown: Machine) -> int | None:
    """As the last keepalive had it; the gateway shows zeros before the first."""
    free = shown.metrics.get("freeGpuCount")
    return None if free is None or not shown.last_keepalive else int(free)


def _age(moment: int) -> float | None:
    return round(max(0.0, time.time() - moment), 1) if moment else None
