"""`b9prov inventory`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from provisioner.cli.options import (
    EXTRA_VARS,
    LIMIT,
    PATH,
    Request,
    output_kind,
    output_option,
    refresh_option,
)
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.inventory import Host, Inventory, describe
from provisioner.report.tables import render_table
from provisioner.secrets import mask

COLUMNS = ("name", "groups", "address", "port", "user", "pool")
SOURCE_COLUMNS = ("source", "asked_age")


@click.group()
def inventory() -> None:
    """Check or show an inventory."""


@inventory.command()
@click.argument("path", metavar="[INVENTORY]", type=PATH, required=False)
@EXTRA_VARS
@refresh_option
@output_option("plain", "json")
def validate(
    path: Path | None, extra_vars: tuple[str, ...], refresh: bool, output: str | None
) -> None:
    """Say whether INVENTORY is right; all that is wrong, if not."""
    loaded = _load(path, extra_vars, refresh)
    count = len(loaded.hosts)
    if output == "json":
        found = {"schema": 1, "inventory": loaded.source, "valid": True, "hosts": count}
        click.echo(json.dumps(found))
    else:
        hosts = "1 host" if count == 1 else f"{count} hosts"
        groups = "1 group" if len(loaded.groups) == 1 else f"{len(loaded.groups)} groups"
        click.echo(mask(f"{loaded.source}: fine, {hosts} in {groups}"))


@inventory.command(short_help="Show the hosts of INVENTORY.")
@click.argument("path", metavar="[INVENTORY]", type=PATH, required=False)
@LIMIT
@EXTRA_VARS
@refresh_option
@output_option()
def show(
    path: Path | None,
    limit: str | None,
    extra_vars: tuple[str, ...],
    refresh: bool,
    output: str | None,
) -> None:
    """Show the hosts of INVENTORY; as JSON, with all their variables, secrets masked.

    With `sources`, each host's source is told, and how long ago that cloud was asked.
    """
    loaded = _load(path, extra_vars, refresh)
    hosts = loaded.select(limit) if loaded.hosts or limit else []
    chosen = [host for host in hosts if host.name in loaded.hosts]
    kind = output_kind(output)
    if kind == "json":
        click.echo(json.dumps(_described(loaded, [host.name for host in chosen])))
    else:
        columns = COLUMNS + SOURCE_COLUMNS * bool(loaded.sources)
        rows = [_row(host) | _origin(loaded, host.name) for host in chosen]
        render_table(columns, rows, kind, sys.stdout, "hosts")


def _load(path: Path | None, extra_vars: tuple[str, ...], refresh: bool) -> Inventory:
    request = Request(inventory=path, extra_vars=extra_vars, refresh=refresh)
    return open_inventory(request, extra_variables(request))


def _described(inventory: Inventory, names: list[str]) -> dict[str, Any]:
    """One object: the gateway, the groups, and a list of the chosen hosts."""
    described = describe(inventory)
    described["hosts"] = [described["hosts"][name] for name in names]
    return {"schema": 1, **described}


def _row(host: Host) -> dict[str, Any]:
    return {
        "name": host.name,
        "groups": host.groups,
        "address": host.address,
        "port": host.port,
        "user": host.user,
        "pool": host.variables.get("pool"),
    }


def _origin(inventory: Inventory, name: str) -> dict[str, Any]:
    """Where a host is from, and how old that knowledge is."""
    for found in inventory.sources:
        if name in found.hosts:
            return {"source": found.provider, "asked_age": round(found.age, 1)}
    return {"source": "file", "asked_age": None}
