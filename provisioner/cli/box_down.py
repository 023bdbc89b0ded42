"""What `b9prov box down` does: machines end, and nothing of them is left or costs."""

from __future__ import annotations

import shlex
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.box_account import Account, dollars, host_entry, session_on, with_boxes
from provisioner.cli.box_up import costs_told, tell_costs
from provisioner.cli.confirm import confirmed
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import Request, output_kind
from provisioner.cli.run_playbook import run_playbook
from provisioner.cli.sources import extra_variables, inventory_path
from provisioner.clouds import Box, CloudError
from provisioner.clouds.box import ENDED, STOPPED
from provisioner.clouds.chosen import host_name
from provisioner.clouds.launching import found_of, wait_ended
from provisioner.clouds.record import LAUNCHED, ORDERED, Launched, Records
from provisioner.errors import BadInput
from provisioner.inventory import GATEWAY, Inventory

END_SECONDS = 300.0  # that a provider may take to end machines
Named = dict[str, tuple[Launched | None, Box | None]]


def box_down(request: Request, names: Sequence[str], yes: bool, force: bool) -> int:
    """End machines by their names; the exit code. Raises BadInput, CloudError."""
    records = Records()
    names = list(dict.fromkeys(names))
    with records.held(names):
        known = records.all()
        work: dict[tuple[str, str | None], list[str]] = {}
        for name in names:
            launched = known.get(name)
            given = request.inventory or (Path(launched.inventory) if launched else None)
            path = str(inventory_path(given))
            work.setdefault((path, launched.provider if launched else None), []).append(name)
        codes = []
        for (path, provider), some in work.items():
            ending = _Ending(replace(request, inventory=Path(path)), some, provider, records, force)
            with costs_told(records, some, ending.again):
                codes.append(ending.end(yes))
    return max(codes, default=0)


@dataclass(frozen=True)
class _Ending:
    """The end of machines of one inventory, which were launched from here at one `provider`, or,
    when it is None, are of any of its sources."""

    request: Request
    names: list[str]
    provider: str | None
    records: Records
    force: bool

    @property
    def _path(self) -> Path:
        return inventory_path(self.request.inventory)

    def end(self, yes: bool) -> int:
        """Ask, drain, `down`, end, and look that they are; the exit code."""
        extra = extra_variables(self.request)
        planned = with_boxes(self._path, extra, {name: {} for name in self.names}, True)
        account = Account.of(planned, self.provider or self._source(planned))
        named = self._named(account.boxes())
        if not (yes or self._agreed(named)):
            return FAILED
        inventory = self._inventory(account, planned, extra, named)
        alive = [name for name, (_, box) in named.items() if box]
        if not self._undone(inventory, extra, named):
            tell_costs(self.records, self.names, self.again)
            say("with --force they end all the same")
            return FAILED
        ids = [box.id for _, box in named.values() if box]
        for box_id in ids:
            account.cloud.end(box_id)
        left = wait_ended(account.boxes, ids, time.monotonic() + END_SECONDS)
        if left:
            say(f"still not ended after {END_SECONDS:g} s: {', '.join(left)}; run it again")
            return FAILED
        self._forget(account)
        where = account.cloud.provider
        for name in self.names if output_kind(self.request.output) != "json" else ():
            ended = f"{name} is ended" if name in alive else f"{name} was not at {where} any more"
            click.echo(ended)
        return 0

    def _source(self, planned: Inventory) -> str:
        """The provider of what was not launched from here. Raises BadInput."""
        providers: dict[str, str] = {}
        for found in planned.sources:
            providers |= dict.fromkeys(found.hosts, found.provider)
        for name in self.names:
            if name not in providers:
                message = f"no machine {name} was launched from here, nor is it in {self._path}'s "
                raise BadInput.of(f"{message}sources", advice="`b9prov box list` lists what is")
        return providers[self.names[0]]

    def _named(self, boxes: Sequence[Box]) -> Named:
        known: dict[str, Launched] = self.records.all()
        found: Named = {}
        there = [box for box in boxes if box.state != ENDED]
        by_name = {host_name(box): box for box in there}
        for name in self.names:
            launched = known.get(name)
            box = found_of(launched, there) if launched else by_name.get(name)
            if launched and box is None:
                self.records.lose(name)
            found[name] = (launched, box)
        return found

    def _agreed(self, named: Named) -> bool:
        for name, (launched, box) in named.items():
            if box is None:
                say(f"{name} is not there any more; what the gateway has of it goes")
                continue
            price = f", {dollars(box.price)} an hour" if box.price is not None else ""
            say(f"{name}: {box.provider} {box.id}, {box.type} in {box.region}{price}")
            if launched is None:
                say(f"warning: {name} was not launched from here")
        names = ", ".join(named)
        return confirmed(
            f"End {names}, with all that is on it?",
            f"box down ends {names}, and nobody is here to confirm",
        )

    def _inventory(
        self, account: Account, planned: Inventory, extra: dict[str, Any], named: Named
    ) -> Inventory:
        further = {
            name: host_entry(box, launched, account.settings, planned.hosts[name].user)
            for name, (launched, box) in named.items()
        }
        return with_boxes(self._path, extra, further)

    def _undone(self, inventory: Inventory, extra: dict[str, Any], named: Named) -> bool:
        """Undo `up` on those that can be asked, and forget the others at the gateway."""
        reached: list[str] = []
        gone: list[str] = []
        for name, (launched, box) in named.items():
            if launched and launched.step in (ORDERED, LAUNCHED):
                continue  # nobody has worked on it yet
            (reached if box and box.state != STOPPED and box.address else gone).append(name)
        if reached:
            code = self._play(inventory, extra, "box_down", reached, {"keep_data": False})
            if code == INTERRUPTED:
                raise KeyboardInterrupt
            if code and not self.force:
                return False
            gone += reached if code else []
        if gone:
            workers = [_worker(inventory, name) for name in gone]
            code = self._play(inventory, extra, "box_gone", [GATEWAY], {"gone_workers": workers})
            return self.force or code == 0
        return True

    def _play(
        self,
        inventory: Inventory,
        extra: dict[str, Any],
        playbook: str,
        limit: Sequence[str],
        magic: dict[str, Any],
    ) -> int:
        request = replace(self.request, limit=",".join(limit))
        session = session_on(inventory, request, extra, playbook, magic)
        words = ["b9prov", "box", "down", *self.names]
        return run_playbook(session, request, words, again=self.again)

    def _forget(self, account: Account) -> None:
        """Their records, and the login keys at the provider that no other machine uses."""
        known = self.records.all()
        for name in self.names:
            self.records.drop(name)
        left = {each.login_key for each in self.records.all().values()}
        keys = {known[name].login_key for name in self.names if name in known}
        for key in keys - left:
            try:
                account.cloud.tidy(key)
            except CloudError as error:
                say(f"warning: the login key stays at {account.cloud.provider}: {error}")

    @property
    def again(self) -> str:
        """The command that goes on."""
        return shlex.join(["b9prov", "box", "down", *self.names])


def _worker(inventory: Inventory, name: str) -> dict[str, Any]:
    variables = inventory.hosts[name].variables
    return {"name": name, "pool": variables["pool"], "provider": variables["provider"]}
