"""Which accounts at clouds `b9prov box` works with, and an inventory with their machines in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.cli.asking import with_passwords
from provisioner.cli.calling import Called
from provisioner.cli.options import Request
from provisioner.cli.session import Session, open_session
from provisioner.cli.sources import check_locks, read_inventory
from provisioner.clouds import PROVIDERS, Box, Cloud, CloudError, open_cloud
from provisioner.clouds.cached import keep, list_boxes
from provisioner.clouds.chosen import variables
from provisioner.clouds.errors import CREDENTIALS
from provisioner.clouds.record import Launched
from provisioner.inventory import Inventory
from provisioner.inventory.schema import CLOUDS
from provisioner.inventory.sections import values
from provisioner.paths import shipped_playbook
from provisioner.ssh.pool import Pool

_MOMENT = 20.0  # seconds


@dataclass(frozen=True)
class Account:
    """An account, and what a source of the inventory says of it."""

    cloud: Cloud
    settings: dict[str, Any]

    @classmethod
    def of(cls, inventory: Inventory | None, provider: str) -> Account:
        """That of the inventory's first source of this provider; without one, as the provider's
        own tools have it. Raises CloudError."""
        for found in inventory.sources if inventory else ():
            if found.provider == provider:
                return cls(open_cloud(provider, found.settings), found.settings)
        section = CLOUDS[provider].kind
        assert isinstance(section, type)
        settings = values(section, {})
        return cls(open_cloud(provider, settings), settings)

    def known_boxes(self) -> list[Box]:
        """All machines, as they were a moment ago."""
        provider = self.cloud.provider
        return list(list_boxes(provider, self.settings, _MOMENT).boxes)

    def boxes(self) -> list[Box]:
        """All machines, asked now; commands that follow know them too."""
        boxes = self.cloud.boxes()
        keep(self.cloud, self.settings, boxes)
        return boxes


def accounts(inventory: Inventory | None, provider: str | None) -> list[Account]:
    """The one of `provider`; else those of the inventory's sources; else all whose credentials are
    there. Raises CloudError."""
    if provider:
        return [Account.of(inventory, provider)]
    named = {found.provider for found in inventory.sources} if inventory else set()
    if named:
        return [Account.of(inventory, each) for each in PROVIDERS if each in named]
    found = []
    for each in PROVIDERS:
        try:
            found.append(Account.of(inventory, each))
        except CloudError as error:
            if error.code != CREDENTIALS:
                raise
    if not found:
        raise CloudError(
            CREDENTIALS,
            "there are no credentials for any cloud",
            "export LAMBDA_API_KEY=…, or CRUSOE_ACCESS_KEY_ID, CRUSOE_SECRET_KEY and "
            "CRUSOE_DEFAULT_PROJECT; or give an inventory with sources",
        )
    return found


def host_entry(
    box: Box | None, launched: Launched | None, settings: Mapping[str, Any], user: str | None
) -> dict[str, Any]:
    """A machine as an inventory has it, where no source of it finds it. `user` is whom the
    inventory has log in already."""
    entry: dict[str, Any] = {}
    if box:
        address = box.private_address if settings["private"] else box.address
        entry |= {"address": address} if address else {}
        entry["vars"] = {"cloud": variables(box)}
        entry |= {"private_ip": box.private_address} if box.private_address else {}
    entry |= {"groups": [settings["group"]]} if settings["group"] else {}
    if launched:
        entry["host_key"] = launched.host_keys[0]
    if not user:
        entry["user"] = settings["user"] or (box.user if box else "ubuntu")
    return entry


def with_boxes(
    path: Path,
    extra: dict[str, Any],
    further: Mapping[str, dict[str, Any]],
    refresh: bool = False,
) -> Inventory:
    """The inventory with these hosts, whether or not a source finds them. Raises BadInput."""
    loaded = read_inventory(path, extra, refresh, further)
    check_locks(loaded)
    return loaded


def session_on(
    inventory: Inventory,
    request: Request,
    extra: dict[str, Any],
    playbook: str,
    magic: dict[str, Any],
) -> Session:
    """For a playbook on hosts of an inventory that is loaded already. Raises BadInput."""
    ready = with_passwords(inventory, request)
    pool = Pool(request.host_keys, request.lock_wait, frozenset(ready.gateway.hosts))
    path = shipped_playbook(playbook, request.playbooks)
    return open_session(request, path, magic, Called(extra, ready, pool))


def dollars(price: float | None) -> str | None:
    """A price per hour, for people."""
    return None if price is None else f"${price:.2f}"


def summed(prices: Sequence[float | None]) -> str:
    """What all cost together, as the end of a sentence."""
    known = [price for price in prices if price is not None]
    unknown = len(prices) - len(known)
    total = f"${sum(known):.2f} an hour" if known else ""
    rest = f"{unknown} at a price that the provider does not tell" if unknown else ""
    return " and ".join(filter(None, [total, rest])) or "nothing"
