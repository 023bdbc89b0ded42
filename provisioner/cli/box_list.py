"""What `b9prov box list` and `box types` show."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

import click

from provisioner.cli.box_account import Account, accounts, dollars, summed
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import Request, output_kind
from provisioner.cli.sources import extra_variables, found_inventory, read_inventory
from provisioner.clouds import Box, CloudError
from provisioner.clouds.box import ENDED
from provisioner.clouds.chosen import host_name
from provisioner.clouds.launching import found_of
from provisioner.clouds.record import Launched, Records
from provisioner.inventory import Inventory
from provisioner.report.tables import render_table

BOX_COLUMNS = (
    "name",
    "provider",
    "id",
    "type",
    "region",
    "state",
    "address",
    "worker",
    "price",
    "launched_age",
)
TYPE_COLUMNS = ("type", "provider", "gpu", "gpus", "price", "regions")
GONE = "gone"
Row = dict[str, Any]


def box_list(request: Request, provider: str | None) -> int:
    """Show all machines of the accounts, and those launched from here that are not there any
    more; the exit code."""
    launched = Records().all()
    rows: list[Row] = []
    code = 0
    asked = set()
    for account in _accounts(request, provider, launched):
        asked.add(account.cloud.provider)
        own = {n: e for n, e in launched.items() if e.provider == account.cloud.provider}
        try:
            rows += _rows(account.boxes(), own)
        except CloudError as error:
            say(f"error: {error} ({error.advice})")
            rows += [_unknown(each, "unknown") for each in own.values()]
            code = FAILED
    if not provider:
        lacking = [each for each in launched.values() if each.provider not in asked]
        rows += [_unknown(each, "unknown") for each in lacking]
    kind = output_kind(request.output)
    prices = [row["price"] for row in rows if row["state"] != GONE]
    if kind != "json":
        rows = [row | {"price": dollars(row["price"])} for row in rows]
    render_table(BOX_COLUMNS, rows, kind, sys.stdout, "boxes")
    if kind != "json" and rows:
        click.echo(f"all of them: {summed(prices)}")
    return code


def box_types(request: Request, provider: str | None) -> None:
    """Show what can be rented, the cheapest first; what no region has now, last."""
    kinds = [
        kind
        for account in accounts(_inventory(request), provider)
        for kind in account.cloud.kinds()
    ]
    kinds.sort(key=lambda kind: (not kind.regions, kind.price or 0.0, kind.name))
    output = output_kind(request.output)
    rows = [
        {
            "type": kind.name,
            "provider": kind.provider,
            "gpu": kind.gpu,
            "gpus": kind.gpus,
            "price": kind.price if output == "json" else dollars(kind.price),
            "regions": list(kind.regions),
        }
        for kind in kinds
    ]
    render_table(TYPE_COLUMNS, rows, output, sys.stdout, "types")


def _accounts(
    request: Request, provider: str | None, launched: dict[str, Launched]
) -> Sequence[Account]:
    """Those asked for, and those of what was launched from here."""
    inventory = _inventory(request)
    try:
        found = accounts(inventory, provider)
    except CloudError:
        if provider or not launched:
            raise
        found = []
    known = {account.cloud.provider for account in found}
    for each in {} if provider else dict.fromkeys(each.provider for each in launched.values()):
        if each not in known:
            try:
                found.append(Account.of(inventory, each))
            except CloudError as error:
                say(f"warning: {error} ({error.advice})")
    return found


def _inventory(request: Request) -> Inventory | None:
    """The one given, or the one in this folder, if it is there."""
    path = found_inventory(request.inventory)
    return read_inventory(path, extra_variables(request), further={}) if path else None


def _rows(boxes: list[Box], launched: dict[str, Launched]) -> list[Row]:
    there = [box for box in boxes if box.state != ENDED]
    own = {id(box): each for each in launched.values() if (box := found_of(each, there))}
    rows = [_row(box, own.get(id(box))) for box in there]
    shown = set(own.values())
    return rows + [_unknown(each, GONE) for each in launched.values() if each not in shown]


def _row(box: Box, launched: Launched | None) -> Row:
    return {
        "name": host_name(box),
        "provider": box.provider,
        "id": box.id,
        "type": box.type,
        "region": box.region,
        "state": box.state,
        "address": box.address,
        "worker": launched.step if launched else None,
        "price": box.price,
        "launched_age": _age(launched),
    }


def _unknown(launched: Launched, state: str) -> Row:
    return {
        "name": launched.name,
        "provider": launched.provider,
        "id": launched.id,
        "type": launched.type,
        "region": launched.region,
        "state": state,
        "address": None,
        "worker": launched.step,
        "price": launched.price,
        "launched_age": _age(launched),
    }


def _age(launched: Launched | None) -> float | None:
    return round(max(0.0, time.time() - launched.ordered_at), 1) if launched else None
