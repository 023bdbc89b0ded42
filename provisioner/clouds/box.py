"""What clouds have in common: rented machines, what can be rented, and what one can do with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Protocol

from provisioner.clouds.bootkey import HostKey

STARTING, RUNNING, UNHEALTHY = "starting", "running", "unhealthy"
STOPPED, ENDED, UNKNOWN = "stopped", "ended", "unknown"


@dataclass(frozen=True)
class Box:
    """A rented machine, as its provider shows it; what it does not tell is None.

    `state` is one of this file's words, `price` is dollars per hour.
    """

    id: str
    name: str
    provider: str
    state: str
    address: str | None = None
    private_address: str | None = None
    user: str = "ubuntu"
    region: str | None = None
    type: str | None = None
    gpus: int | None = None
    price: float | None = None
    tags: dict[str, str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Kind:
    """A type of machine; `regions` are those that have one to rent out now."""

    name: str
    provider: str
    gpu: str | None
    gpus: int | None
    price: float | None
    regions: tuple[str, ...]


@dataclass(frozen=True)
class Order:
    """A machine to be launched. `host_key` is to be its SSH host key from its first boot on,
    `login_key` the public key, as `ssh-ed25519 AAAA…`, that logs in to it. Its `mark` is a tag of
    it beside its `tags`, where the provider has such."""

    name: str
    type: str
    region: str
    login_key: str
    host_key: HostKey
    mark: str
    image: str | None = None
    tags: dict[str, str] = field(default_factory=dict, hash=False)


class Cloud(Protocol):
    """An account at a provider. All raise CloudError."""

    provider: str
    account: str  # which account it is, without telling its key

    def boxes(self) -> list[Box]:
        """All machines of the account."""

    def kinds(self) -> list[Kind]:
        """What can be rented."""

    def launch(self, order: Order) -> str | None:
        """Order a machine, once; its id, where the provider tells it at once."""

    def end(self, box_id: str) -> None:
        """End a machine, and what it costs; one that is gone is fine."""

    def tidy(self, login_key: str) -> None:
        """Remove what was made in the account for launches with that key, when no machine is
        left."""


def text(value: Any) -> str | None:
    """A field that should hold text; None for all else."""
    return value if isinstance(value, str) and value else None


def number(value: Any) -> int | None:
    """A field that should hold a whole number."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def mapping(value: Any) -> dict[str, Any]:
    """A field that should hold an object; an empty one for all else."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[dict[str, Any]]:
    """A field that should hold objects; whatever else is in it is left out."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def tags(value: Any) -> dict[str, str]:
    """Tags, be they an object, `{key, value}` objects or plain words."""
    if isinstance(value, dict):
        return {str(key): str(each) for key, each in value.items()}
    found = {}
    for each in value if isinstance(value, list) else []:
        if isinstance(each, dict) and "key" in each:
            found[str(each["key"])] = str(each.get("value") or "")
        elif isinstance(each, str):
            found[each] = ""
    return found
