"""Where hosts and their variables come from: an inventory file, or the command line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from provisioner.artifacts.lock import lock_of
from provisioner.cli.failures import say
from provisioner.cli.options import Request
from provisioner.errors import BadInput, Problem
from provisioner.inventory import Host, Inventory, load_inventory, one_shot, parse_extra
from provisioner.paths import DEFAULT_INVENTORY


def extra_variables(request: Request) -> dict[str, Any]:
    """What -e and --pool set, over everything in the inventory."""
    extra = parse_extra(list(request.extra_vars))
    if request.pool is not None:
        extra["pool"] = request.pool
    return extra


def open_inventory(request: Request, extra: dict[str, Any]) -> Inventory:
    """The inventory of a file, or of hosts on the command line; its locks of artifacts are good.

    Raises BadInput.
    """
    inventory = _open_inventory(request, extra)
    check_locks(inventory)
    return inventory


def one_host(inventory: Inventory, pattern: str | None) -> Host:
    """The one host of that name or pattern. Raises BadInput, click.UsageError."""
    hosts = inventory.select(pattern)
    if len(hosts) > 1:
        raise click.UsageError(f"{pattern!r} is {len(hosts)} hosts; name one")
    return hosts[0]


def check_locks(inventory: Inventory) -> None:
    """Read the locks of artifacts that hosts name. Raises BadInput with all that is wrong."""
    problems: dict[Problem, None] = {}
    for path in {host.variables["artifacts"]["lock"] for host in inventory.hosts.values()}:
        try:
            lock_of(path)
        except BadInput as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise BadInput(list(problems))


def _open_inventory(request: Request, extra: dict[str, Any]) -> Inventory:
    if request.hosts:
        if request.inventory:
            raise BadInput.of("an inventory and --host together", advice="give one of them")
        return one_shot(list(request.hosts), request.gateway_host, extra)
    if request.gateway_host:
        raise BadInput.of(
            "--gateway-host goes with --host", advice="an inventory has its own `gateway.host`"
        )
    return read_inventory(inventory_path(request.inventory), extra, request.refresh)


def read_inventory(
    path: Path,
    extra: dict[str, Any],
    refresh: bool = False,
    further: Mapping[str, dict[str, Any]] | None = None,
) -> Inventory:
    """`load_inventory`; what is odd about its sources is told. Raises BadInput."""
    loaded = load_inventory(path, extra, refresh=refresh, further=further)
    for each in loaded.sources:
        for warning in each.warnings:
            say(f"warning: {warning}")
    return loaded


def watched_workers(request: Request) -> list[Host]:
    """The workers that a request means; there is at least one. Raises BadInput."""
    loaded = open_inventory(request, extra_variables(request))
    chosen = [host for host in loaded.select(request.limit) if host.name in loaded.hosts]
    if not chosen:
        raise BadInput.of("there is no worker to watch", advice="see `b9prov inventory show`")
    return chosen


def inventory_path(given: Path | None) -> Path:
    """The inventory file: the one given, or the one in this folder. Raises BadInput."""
    found = found_inventory(given)
    if found is None:
        raise BadInput.of(
            f"no inventory was given, and there is no {DEFAULT_INVENTORY} here",
            advice="name one; inventory.example.yaml explains how to write it",
        )
    return found


def found_inventory(given: Path | None) -> Path | None:
    """The inventory file, for a command that can do without; None when there is none here."""
    return given or (DEFAULT_INVENTORY if DEFAULT_INVENTORY.exists() else None)
