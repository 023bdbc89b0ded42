"""What `b9prov box up` does: from nothing to ready workers, and always a word on what costs."""

from __future__ import annotations

import contextlib
import shlex
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import click

from provisioner.cli.box_account import (
    Account,
    dollars,
    host_entry,
    session_on,
    summed,
    with_boxes,
)
from provisioner.cli.box_keys import await_logins, public_login_key, rotate
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import Request, output_kind
from provisioner.cli.run_playbook import repeated_options, run_playbook
from provisioner.cli.session import agent_zipapp
from provisioner.cli.sources import extra_variables, inventory_path
from provisioner.cli.workers import ask_status
from provisioner.clouds import Box, CloudError, Kind
from provisioner.clouds.box import ENDED
from provisioner.clouds.launching import found_of, launch, wait_running
from provisioner.clouds.record import LOST, ORDERED, READY, Launched, Records
from provisioner.errors import BadInput
from provisioner.inventory import Inventory
from provisioner.report.tables import render_table

COLUMNS = ("name", "ready", "machine_id", "pool", "address", "type", "region", "price")
Rows = list[dict[str, Any]]


@dataclass(frozen=True)
class Wanted:
    """What is to be launched; `wait` in seconds, until all of them can be logged in to."""

    provider: str
    type: str
    region: str
    names: tuple[str, ...]
    image: str | None
    wait: float
    command: tuple[str, ...]


def box_up(request: Request, wanted: Wanted) -> int:
    """Launch what is not there yet, and have all of them ready; the exit code.

    Raises BadInput, CloudError, Unreachable.
    """
    path = inventory_path(request.inventory)
    request = replace(request, inventory=path, limit=",".join(wanted.names))
    records = Records()
    again = shlex.join([*wanted.command, *repeated_options(request)])
    with records.held(list(wanted.names)):
        work = _Work(path, request, wanted, records, extra_variables(request), again)
        work.check()
        with costs_told(records, wanted.names, again, "nothing was launched: nothing costs"):
            code = work.up()
        if code:
            tell_costs(records, wanted.names, again)
        return code


@dataclass(frozen=True)
class _Work:
    path: Path
    request: Request
    wanted: Wanted
    records: Records
    extra: dict[str, Any]
    again: str

    def check(self) -> None:
        """Refuse what can't come to a good end, before anything costs money. Raises BadInput."""
        for each in self._begun().values():
            if each.inventory != str(self.path.resolve()):
                message = f"{each.name} was launched with the inventory {each.inventory}"
                raise BadInput.of(message, advice="go on with that, or choose another --name")
            same = (each.provider, each.type, each.region)
            if same != (self.wanted.provider, self.wanted.type, self.wanted.region):
                what = f"{each.type} in {each.region} at {each.provider}"
                message = f"{each.name} was launched as {what}"
                advice = f"`b9prov box down {each.name}` ends it; or choose another --name"
                raise BadInput.of(message, advice=advice)
        planned = self._planned(refresh=True)
        sourced = {name for found in planned.sources for name in found.hosts}
        for name in self.wanted.names:
            host = planned.hosts[name]
            if name not in sourced and host.address != name:
                message = f"{name} is a host of {self.path} already, at {host.address}"
                raise BadInput.of(message, advice="choose another --name")

    def up(self) -> int:
        """Launch, wait, exchange the host keys, `up`, and show."""
        give_up = time.monotonic() + self.wanted.wait
        planned = self._planned()
        account = Account.of(planned, self.wanted.provider)
        self._refuse_strangers(account.known_boxes())
        wanted = self._wanted(account, planned)
        image, tags = self.wanted.image, _tags(account)
        launched = [launch(account.cloud, self.records, each, image, say, tags) for each in wanted]
        boxes = wait_running(account.boxes, self.records, launched, give_up, say)
        inventory = self._inventory(account, planned, boxes)
        hosts = [inventory.hosts[name] for name in self.wanted.names]
        begun = self._begun()
        shown = await_logins(hosts, begun, give_up, say)
        rotate(inventory, self.request, self.extra, self.records, shown)
        inventory = self._inventory(account, planned, boxes)  # with the new keys
        code = self._onboard(inventory)
        if code == FAILED:
            self._look_for_lost(account)
        if code:
            return code
        return self._show(inventory, boxes)

    def _look_for_lost(self, account: Account) -> None:
        """Whether it went wrong because a machine is no more."""
        with contextlib.suppress(CloudError):
            boxes = account.boxes()
            for name, launched in self._begun().items():
                box = found_of(launched, boxes)
                if box is None or box.state == ENDED:
                    self.records.lose(name)

    def _planned(self, refresh: bool = False) -> Inventory:
        """The inventory with the machines in it, wherever they may be."""
        places: dict[str, dict[str, Any]] = {name: {} for name in self.wanted.names}
        return with_boxes(self.path, self.extra, places, refresh)

    def _begun(self) -> dict[str, Launched]:
        known = self.records.all()
        return {name: known[name] for name in self.wanted.names if name in known}

    def _wanted(self, account: Account, planned: Inventory) -> list[Launched]:
        wanted, begun = self.wanted, self._begun()
        kind = self._kind(account) if len(begun) < len(wanted.names) else None
        new = [
            Launched(
                name=name,
                provider=wanted.provider,
                type=wanted.type,
                region=wanted.region,
                inventory=str(self.path.resolve()),
                mark="",
                ordered_at=0.0,
                host_keys=(),
                login_key=public_login_key(planned.hosts[name]),
                price=kind.price if kind else None,
                api=account.settings["api"],
            )
            for name in wanted.names
        ]
        return [begun.get(each.name, each) for each in new]

    def _kind(self, account: Account) -> Kind:
        """The type that is wanted, whose price is told. Raises BadInput when there is none."""
        kinds = {kind.name: kind for kind in account.cloud.kinds()}
        name = self.wanted.type
        if name not in kinds:
            close = get_close_matches(name, kinds, n=3)
            advice = f"did you mean {' or '.join(close)}?" if close else "`b9prov box types`"
            raise BadInput.of(f"{self.wanted.provider} has no type {name!r}", advice=advice)
        price = dollars(kinds[name].price)
        each = f"{price} an hour each" if price else "at a price that the provider does not tell"
        say(f"launching {', '.join(self.wanted.names)}: {name} in {self.wanted.region}, {each}")
        return kinds[name]

    def _refuse_strangers(self, boxes: Sequence[Box]) -> None:
        """A machine of that name which we have not launched is not ours to work on."""
        begun = self._begun()
        for box in boxes:
            if box.name not in self.wanted.names or box.state == ENDED:
                continue
            if box.name not in begun or found_of(begun[box.name], boxes) != box:
                message = f"{box.provider} has a machine {box.name} already ({box.id})"
                advice = "it was not launched from here; choose another --name"
                raise BadInput.of(message, advice=advice)

    def _inventory(self, account: Account, planned: Inventory, boxes: dict[str, Box]) -> Inventory:
        begun = self._begun()
        further = {
            name: host_entry(box, begun[name], account.settings, planned.hosts[name].user)
            for name, box in boxes.items()
        }
        return with_boxes(self.path, self.extra, further)

    def _onboard(self, inventory: Inventory) -> int:
        magic = {"b9agent_pyz": agent_zipapp()}
        session = session_on(inventory, self.request, self.extra, "up", magic)
        return run_playbook(session, self.request, self.wanted.command, again=self.again)

    def _show(self, inventory: Inventory, boxes: dict[str, Box]) -> int:
        """The table of what is ready."""
        asked = ask_status(session_on(inventory, self.request, self.extra, "status", {}))
        if asked is None:
            raise KeyboardInterrupt
        kind = output_kind(self.request.output)
        rows = [row | _of_box(boxes[row["name"]], kind) for row in asked]
        for row in rows:
            if row["ready"]:
                self.records.put(self.records.all()[row["name"]].at(READY))
        render_table(COLUMNS, rows, kind, sys.stdout, "boxes")
        if kind != "json":
            _tell_end(rows, [box.price for box in boxes.values()])
        self._tell_source(inventory)
        return 0 if all(row["ready"] for row in rows) else FAILED

    def _tell_source(self, inventory: Inventory) -> None:
        known = {name for found in inventory.sources for name in found.hosts}
        missing = [name for name in self.wanted.names if name not in known]
        if missing:
            say(
                f"{self.path} has no source that finds {', '.join(missing)}: with `sources: "
                f"[{self.wanted.provider}]` in it, all commands do"
            )


def _tags(account: Account) -> dict[str, str]:
    """Those that the inventory's source finds its machines by."""
    words = (each.partition("=") for each in account.settings["tags"])
    return {key: value for key, _, value in words}


def _of_box(box: Box, kind: str) -> dict[str, Any]:
    price = box.price if kind == "json" else dollars(box.price)
    shown = {name: getattr(box, name) for name in ("provider", "id", "address", "type", "region")}
    return {**shown, "price": price}


def _tell_end(rows: Rows, prices: list[float | None]) -> None:
    for row in rows:
        if not row["ready"] and row.get("reason"):
            say(f"{row['name']}: {row['reason']}")
    names = shlex.join(row["name"] for row in rows)
    click.echo(f"{summed(prices)}, until: b9prov box down {names}")


@contextmanager
def costs_told(
    records: Records, names: Sequence[str], again: str, nothing: str = ""
) -> Iterator[None]:
    """Whatever ends the block but success: what costs money, and how it goes on or ends.

    `nothing` is what to say where nothing does.
    """
    try:
        yield
    except BaseException:
        tell_costs(records, names, again, nothing)
        raise


def tell_costs(records: Records, names: Sequence[str], again: str, nothing: str = "") -> None:
    """Which of these were launched and not ended, what they cost, how to go on and to end them."""
    known = records.all()
    costing = [known[name] for name in names if name in known]
    if not costing:
        if nothing:
            say(nothing)
        return
    for each in costing:
        if each.step == LOST:
            say(f"{each.name} is not at {each.provider} any more, and costs nothing")
            continue
        kind = f"{each.type} in {each.region}"
        price = f", {dollars(each.price)} an hour" if each.price is not None else ""
        if each.step == ORDERED:
            say(
                f"{each.name} may cost money: it was ordered at {each.provider} ({kind}), and the "
                "answer did not come"
            )
        else:
            say(f"{each.name} costs money: {each.provider} {each.id} ({kind}{price})")
    say(f"to go on: {again}")
    say(f"to end it: {shlex.join(['b9prov', 'box', 'down', *(each.name for each in costing)])}")
