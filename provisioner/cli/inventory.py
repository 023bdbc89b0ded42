"""`b9prov inventory`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click

from provisioner.cli.options import PATH, Request, output_kind, output_option
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.inventory import Host, Inventory, describe
from provisioner.report.tables import render_table
from provisioner.secrets import mask

COLUMNS = ("name", "groups", "address", "port", "user", "pool")


@click.group()
def inventory() -> None:
    """Check or show an inventory."""


@inventory.command()
@click.argument("path", metavar="[INVENTORY]", type=PATH, required=False)
@click.option("-e", "--extra-vars", multiple=True, metavar="NAME=VALUE", help="As for `up`.")
@output_option("plain", "json")
def validate(path: Path | None, extra_vars: tuple[str, ...], output: str | None) -> None:
    """Say whether INVENTORY is right; all that is wrong, if not."""
    loaded = _load(path, extra_vars)
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
@click.option("--limit", metavar="PATTERN", help="Only these hosts: names, groups, a*, !x, @FILE.")
@click.option("-e", "--extra-vars", multiple=True, metavar="NAME=VALUE", help="As for `up`.")
@output_option()
def show(
    path: Path | None, limit: str | None, extra_vars: tuple[str, ...], output: str | None
) -> None:
    """Show the hosts of INVENTORY; as JSON, with all their variables, secrets masked."""
    loaded = _load(path, extra_vars)
    chosen = [host for host in loaded.select(limit) if host.name in loaded.hosts]
    kind = output_kind(output)
    if kind == "json":
        click.echo(json.dumps(_described(loaded, [host.name for host in chosen])))
    else:
        render_table(COLUMNS, [_row(host) for host in chosen], kind, sys.stdout, "hosts")


def _load(path: Path | None, extra_vars: tuple[str, ...]) -> Inventory:
    request = Request(inventory=path, extra_vars=extra_vars)
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
