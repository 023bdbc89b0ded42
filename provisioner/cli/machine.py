"""`b9prov machine`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click

from provisioner import wholefile
from provisioner.cli.administering import (
    administered,
    client,
    inventory_options,
    noted_as,
    pools_of,
)
from provisioner.cli.confirm import agreed
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import output_kind, output_option
from provisioner.errors import BadInput
from provisioner.gateway.client import Machine
from provisioner.inventory import Gateway
from provisioner.report.tables import render_table
from provisioner.secrets import revealed

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


_POOL = click.option("--pool", metavar="POOL", required=True, help="The worker pool.")


@click.group()
def machine() -> None:
    """List, make and delete machine records at the gateway, as its administrator.

    The gateway is asked through SSH to its host, or directly when the inventory gives
    `gateway.url`. `gateway.admin_token` is needed. `up` and `down` make and delete the machines
    of their workers by themselves.
    """


@machine.command("list", short_help="Show the machines of the inventory's pools.")
@inventory_options
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
    loaded = administered(inventory, extra_vars)
    pools = pools_of(loaded) if pool is None else [pool]
    with client(loaded, host_keys) as gateway:
        machines = [each for name in pools for each in gateway.list_machines(name)]
    kind = output_kind(output)
    row = machine_row if kind == "json" else readable
    render_table(COLUMNS, [row(each) for each in machines], kind, sys.stdout, "machines")


@machine.command(short_help="Make a machine, and print how a worker becomes it by hand.")
@inventory_options
@_POOL
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write the token there, for its owner alone, rather than print it.",
)
@output_option("plain", "json")
def create(
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    pool: str,
    token_file: Path | None,
    output: str | None,
) -> None:
    """Make a machine, for a worker to be set up by hand; print its id, its token and the commands.

    INVENTORY is ./inventory.yaml when it is not given. The token is a secret, which the gateway
    shows this once. The machine is forgotten after an hour if no agent registers it. Workers
    that `up` sets up need none of this.
    """
    if token_file and (token_file.exists() or not token_file.absolute().parent.is_dir()):
        why = "is there already" if token_file.exists() else "is in no folder"
        raise BadInput.of(f"--token-file: {token_file} {why}", advice="name a new file")
    loaded = administered(inventory, extra_vars)
    with (
        noted_as(loaded, "machine", "create", "--pool", pool),
        client(loaded, host_keys) as gateway,
    ):
        made = gateway.create_machine(pool)
    token = revealed(made.token) or ""
    if token_file:
        wholefile.replace(token_file, f"{token}\n".encode(), 0o600)
    shown = token if token_file is None else None
    if output == "json":
        machine = {"id": made.id, "pool": made.pool, "token": shown}
        machine |= {"token_file": str(token_file)} if token_file else {}
        commands = guide_commands(loaded.gateway, made)
        found = {"schema": 1, "machine": machine, "expires_seconds": PENDING_SECONDS}
        click.echo(json.dumps(found | {"commands": commands}))
    else:
        place = f"in {token_file}" if token_file else token
        click.echo(f"Machine ID: {made.id}\nToken: {place}\n")
        click.echo("\n".join(_manual(loaded.gateway, made)))
    if shown:
        say("warning: the token is a secret, and it is not shown again; keep it out of logs")
    say("warning: the machine is forgotten in an hour, if no agent has registered it by then")


@machine.command(short_help="Delete a machine.")
@click.argument("machine_id", metavar="ID")
@inventory_options
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
    loaded = administered(inventory, extra_vars)
    if not (yes or sys.stdin.isatty()):
        raise BadInput.of(f"nobody is here to confirm that {machine_id} goes", advice="say --yes")
    with client(loaded, host_keys) as gateway:
        known = {each.id: each for each in gateway.list_machines(pool)}
        if machine_id not in known:
            advice = f"there are {', '.join(known)}" if known else "it has none"
            raise click.ClickException(f"pool {pool} has no machine {machine_id!r} ({advice})")
        if not (yes or agreed(f"Delete machine {machine_id} ({known[machine_id].status})?")):
            return FAILED
        with noted_as(loaded, "machine", "delete", machine_id, "--pool", pool):
            gateway.delete_machine(machine_id, pool)
    click.echo(f"machine {machine_id} of pool {pool} is deleted")
    return 0


def _manual(gateway: Gateway, made: Machine) -> list[str]:
    """The three ways to set the worker up, as lines to read and to copy."""
    host, port = _reached_at(gateway)
    tunnel = [] if gateway.url else [_tunnel_command(gateway)]
    init = ["b9agent", "init", "--gateway", f"{host}:{port}", "--machine-id", made.id]
    init += ["--pool", made.pool]
    return [
        "# on the worker, as in the guide; its agent shows the token to whoever lists processes",
        *guide_commands(gateway, made),
        "",
        "# or with b9agent, which has the token in a file that its owner alone reads",
        "install -m 600 /dev/stdin ~/.b9-token  # paste the token, then Ctrl-D",
        *tunnel,
        f"{shlex.join(init)} --token-file ~/.b9-token",
        "b9agent run",
        "",
        "# or by `b9prov up`: under the host, in the inventory",
        f'#   machine_id: "{made.id}"',
        "#   machine_token: !env B9_MACHINE_TOKEN",
    ]


def guide_commands(gateway: Gateway, made: Machine) -> list[str]:
    """What the guide has one type on the worker: the tunnel, if there is one, and the agent. The
    token is asked for, so that it is in no shell's history."""
    host, port = _reached_at(gateway)
    agent = {
        "--machine-id": made.id,
        "--pool-name": made.pool,
        "--gateway-host": host,
        "--gateway-port": str(port),
    }
    words = " ".join(f"{option} {shlex.quote(value)}" for option, value in agent.items())
    return [
        "read -rs B9_MACHINE_TOKEN  # paste the token, then Enter",
        *([] if gateway.url else [_tunnel_command(gateway)]),
        "cd /path/to/beta9",
        "pip install -r cmd/agent/requirements.txt",
        f'python -m cmd.agent --token "$B9_MACHINE_TOKEN" {words}',
    ]


def _reached_at(gateway: Gateway) -> tuple[str, int]:
    """Where an agent on the worker reaches the gateway."""
    if not gateway.url:
        return "localhost", TUNNEL_PORT
    parts = urlsplit(gateway.url)
    return parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)


def _tunnel_command(gateway: Gateway) -> str:
    assert gateway.host
    address = gateway.tunnel_address or gateway.host.address
    port = gateway.tunnel_port or gateway.host.port
    target = f"{gateway.host.user}@{address}" if gateway.host.user else address
    words = ["ssh", "-fNL", f"{TUNNEL_PORT}:{gateway.api}", *(["-p", str(port)] * (port != 22))]
    return shlex.join([*words, target])


def machine_row(shown: Machine) -> dict[str, Any]:
    """The machine for a listing, in JSON."""
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


def readable(shown: Machine) -> dict[str, Any]:
    """The row with quantities as the gateway's documents write them."""
    row = machine_row(shown)
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
