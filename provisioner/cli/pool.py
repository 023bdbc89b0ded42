"""`b9prov pool`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import click
import yaml

from provisioner.cli.administering import administered, client, inventory_options, pools_of
from provisioner.cli.failures import say
from provisioner.cli.machine import COLUMNS as MACHINE_COLUMNS
from provisioner.cli.machine import machine_row, readable
from provisioner.cli.options import output_kind, output_option
from provisioner.cli.sources import found_inventory
from provisioner.errors import BadInput
from provisioner.gateway.client import GatewayClient, Machine, Pool
from provisioner.gateway.errors import GatewayError
from provisioner.inventory import Inventory
from provisioner.report.tables import render_table

COLUMNS = ("name", "gpu", "status", "machines", "ready", "workers", "containers", "hosts")
# what of a pool's state is shown, by the gateway's names for it
_COUNTS = {
    "workers": "availableWorkers",
    "pending_workers": "pendingWorkers",
    "containers": "runningContainers",
    "pending_containers": "pendingContainers",
    "free_gpus": "freeGpu",
}
_WHERE = """\
# Pools are made by the gateway's configuration alone: its API has no call for it. Put this into the
# file that CONFIG_PATH names there, or into a file of its own in /etc/beta9.d/, and restart it."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
Row = dict[str, Any]


@click.group()
def pool() -> None:
    """List and show the gateway's worker pools; write the configuration of a new one.

    The gateway is asked as `b9prov machine` asks it.
    """


@pool.command("list", short_help="Show the gateway's pools.")
@inventory_options
@output_option()
def list_(
    inventory: Path | None, extra_vars: tuple[str, ...], host_keys: str, output: str | None
) -> None:
    """Show the gateway's pools, with their machines and the hosts of INVENTORY that are in them.

    INVENTORY is ./inventory.yaml when it is not given. While one of its pools never had a worker,
    the gateway can't list them; the pools of the inventory are shown then.
    """
    loaded = administered(inventory, extra_vars)
    with client(loaded, host_keys) as gateway:
        pools = _pools(gateway, loaded)
        rows = [_row(each, _machines(gateway, each.name), loaded) for each in pools]
    render_table(COLUMNS, rows, output_kind(output), sys.stdout, "pools")


@pool.command(short_help="Show one pool with its machines.")
@click.argument("name", metavar="POOL")
@inventory_options
@output_option()
def show(
    name: str,
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    output: str | None,
) -> None:
    """Show a pool with its machines, and the hosts of INVENTORY that are in it.

    INVENTORY is ./inventory.yaml when it is not given.
    """
    loaded = administered(inventory, extra_vars)
    with client(loaded, host_keys) as gateway:
        known = {each.name: each for each in _pools(gateway, loaded)}
        machines = _machines(gateway, name)
    row = _row(known.get(name, Pool(name)), machines, loaded)
    kind = output_kind(output)
    if kind == "json":
        shown = [machine_row(each) for each in machines or []]
        click.echo(json.dumps({"schema": 1, "pool": row, "machines": shown}))
        return
    render_table(
        (*COLUMNS, *(each for each in _COUNTS if each not in COLUMNS)),
        [row],
        kind,
        sys.stdout,
        "pools",
    )
    click.echo()
    render_table(
        MACHINE_COLUMNS, [readable(each) for each in machines or []], kind, sys.stdout, "machines"
    )
    hosts = ", ".join(row["host_names"]) or "none"
    click.echo(f"hosts of {loaded.source} in it: {hosts}")


@pool.command(short_help="Write the gateway's configuration of a new pool.")
@click.argument("name", metavar="POOL")
@inventory_options
@click.option("--gpu-type", metavar="TYPE", help="The GPU's type, such as H100. Without: CPU only.")
@click.option(
    "--default-gpu-count",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="GPUs of a worker, with --gpu-type.",
)
@click.option("--cpu", default="8000m", show_default=True, help="CPU of a worker, in millicores.")
@click.option("--memory", default="16Gi", show_default=True, help="Memory of a worker.")
@click.option("--provider", default="generic", show_default=True, help="As in the inventory.")
@output_option("plain", "json")
def create(
    name: str,
    inventory: Path | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
    gpu_type: str | None,
    default_gpu_count: int,
    cpu: str,
    memory: str,
    provider: str,
    output: str | None,
) -> None:
    """Write what the gateway's configuration must have for a pool of external workers.

    The gateway's API makes no pools. With an INVENTORY, or ./inventory.yaml, the gateway is asked
    first whether it has the pool, and if so there is nothing to write.
    """
    _check(name, cpu, memory)
    is_there = _is_there(name, inventory, extra_vars, host_keys)
    stanza = {"worker": {"pools": {name: _stanza(gpu_type, default_gpu_count, cpu, memory)}}}
    stanza["worker"]["pools"][name]["provider"] = provider
    if output == "json":
        shown = {"schema": 1, "pool": name, "exists": is_there, "configuration": stanza}
        click.echo(json.dumps(shown))
    elif is_there:
        click.echo(f"pool {name} is there already")
    else:
        click.echo(f"{_WHERE}\n{yaml.safe_dump(stanza, sort_keys=False)}", nl=False)


def _stanza(gpu_type: str | None, gpus: int, cpu: str, memory: str) -> Row:
    """A pool, by the keys of the gateway's configuration."""
    sizing: Row = {"defaultWorkerCPU": cpu, "defaultWorkerMemory": memory}
    sizing |= {"minFreeCPU": 0, "minFreeMemory": 0, "minFreeGPU": 0}
    found: Row = {"mode": "external", "provider": "", "jobSpec": {"nodeSelector": {}}}
    if gpu_type:
        # a RuntimeClass of that name is on workers with GPUs that `up` sets up
        found |= {"gpuType": gpu_type, "runtime": "nvidia"}
        sizing |= {"defaultWorkerGPUType": gpu_type, "defaultWorkerGpuCount": str(gpus)}
    return found | {"poolSizing": sizing}


def _check(name: str, cpu: str, memory: str) -> None:
    """Raises BadInput for what the gateway would take for something else."""
    if not _NAME.fullmatch(name):
        raise BadInput.of(f"POOL: {name!r} is no name", advice="letters, digits, '.', '_' and '-'")
    if not (cpu.endswith("m") and cpu[:-1].isdecimal()):
        raise BadInput.of(f"--cpu {cpu}: expected millicores", advice="such as 8000m for 8 cores")
    if memory[-2:] not in ("Mi", "Gi") or not memory[:-2].isdecimal():
        raise BadInput.of(f"--memory {memory}: expected whole Mi or Gi", advice="such as 16Gi")


def _is_there(
    name: str, inventory: Path | None, extra_vars: tuple[str, ...], host_keys: str
) -> bool | None:
    """Whether the gateway has the pool; None where it can't be asked."""
    if found_inventory(inventory) is None:
        return None
    loaded = administered(inventory, extra_vars)
    with client(loaded, host_keys) as gateway:
        try:
            _machines(gateway, name)
        except GatewayError as error:
            if error.code != "bad_pool":
                raise
            return False
    return True


def _pools(gateway: GatewayClient, loaded: Inventory) -> list[Pool]:
    """The gateway's pools; where it can't tell, those of the inventory."""
    try:
        return gateway.pools()
    except GatewayError as error:
        if error.code != "pools_unready":
            raise
        say(f"warning: {error}; shown are the pools of {loaded.source}")
        return [Pool(name) for name in pools_of(loaded)]


def _machines(gateway: GatewayClient, name: str) -> list[Machine] | None:
    """Those of the pool; None for one of the gateway's own cluster, which has none."""
    try:
        return gateway.list_machines(name)
    except GatewayError as error:
        if error.code != "local_pool":
            raise
    return None


def _row(each: Pool, machines: list[Machine] | None, loaded: Inventory) -> Row:
    hosts = [h.name for h in loaded.hosts.values() if h.variables["pool"] == each.name]
    gpu = each.gpu or next((machine.gpu for machine in machines or [] if machine.gpu), "")
    row: Row = {
        "name": each.name,
        "gpu": gpu or None,
        "status": each.state.get("status"),
        "is_local": machines is None,
        "machines": None if machines is None else len(machines),
        "ready": None if machines is None else sum(m.status == "ready" for m in machines),
        "hosts": len(hosts),
        "host_names": hosts,
    }
    return row | {name: _number(each.state.get(key)) for name, key in _COUNTS.items()}


def _number(value: Any) -> int | None:
    """64-bit numbers are texts in the gateway's JSON."""
    return None if value is None else int(value)
