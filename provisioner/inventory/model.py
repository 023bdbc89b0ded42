"""What an inventory is once it is loaded: hosts with all their variables."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from provisioner.errors import BadInput, Source
from provisioner.inventory import patterns
from provisioner.secrets import MASK, Secret, mask

GATEWAY = "gateway"  # the name of the gateway host
GATEWAYS = "gateways"  # with those that stand by for it


@dataclass(frozen=True)
class Host:
    """A host: how to reach it, and its variables.

    `variables` has every setting that is no connection setting, defaults included, and the user's
    own `vars` beside them. `host_key` is a "SHA256:…" fingerprint or a "TYPE BASE64" key.
    """

    name: str
    address: str
    port: int = 22
    user: str | None = None
    identity_file: str | None = None
    host_key: str | None = None
    jump: str | None = None
    become_password: Secret | None = None
    connect_timeout: float = 10.0
    variables: dict[str, Any] = field(default_factory=dict, hash=False)
    groups: tuple[str, ...] = ()


def standby_name(name: str) -> str:
    """The name, as a host of runs, of what the inventory calls so; no worker can have it."""
    return f"{GATEWAY}@{name}"


def is_gateway(name: str) -> bool:
    """Whether it is the name of a gateway host."""
    return name == GATEWAY or name.startswith(standby_name(""))


@dataclass(frozen=True)
class Standby:
    """A further host of the gateway, and where workers reach it."""

    host: Host
    tunnel_address: str
    tunnel_port: int


@dataclass(frozen=True)
class Gateway:
    """The gateway; `host` is None when only its `url` is known."""

    host: Host | None
    api: str
    url: str | None
    admin_token: Secret | None
    manage: bool
    addresses: str
    forwards: list[str] = field(hash=False)
    tunnel_address: str | None
    tunnel_port: int | None
    standby: tuple[Standby, ...] = ()

    @property
    def hosts(self) -> dict[str, Host]:
        """The gateway's hosts by name, the one that is tried first in front."""
        first = [self.host] if self.host else []
        return {host.name: host for host in (*first, *(each.host for each in self.standby))}


@dataclass(frozen=True)
class Found:
    """What a source of hosts had: the names of its hosts, as it was `age` seconds ago.

    `warnings` say what is odd about it, `settings` are the source's own.
    """

    provider: str
    hosts: tuple[str, ...]
    age: float
    warnings: tuple[str, ...]
    settings: dict[str, Any] = field(hash=False)


@dataclass
class Inventory:
    """The gateway, the hosts in the file's order, and the groups with their hosts' names; hosts
    that sources found come after the file's."""

    gateway: Gateway
    hosts: dict[str, Host]
    groups: dict[str, tuple[str, ...]]
    source: str
    sources: tuple[Found, ...] = ()

    def select(self, pattern: str | None) -> list[Host]:
        """The hosts that `pattern` names, in the inventory's order; all of them for None.

        A pattern is a name, a group, `all`, one with `*` or `?`, `!x` (not x), `&x` (only those
        also in x), `@FILE` (one host a line), or several with commas or colons. `gateway` alone is
        the gateway host, `gateways` all of them. Raises BadInput for an unknown name and when
        nothing is left.
        """
        if not self.hosts and pattern not in (GATEWAY, GATEWAYS):
            advice = "`b9prov inventory show --refresh` asks them anew; see their filters"
            raise BadInput.of("its sources have no hosts", Source(self.source), advice)
        if pattern is None:
            return list(self.hosts.values())
        if pattern.strip() == GATEWAY and self.gateway.host:
            return [self.gateway.host]
        if pattern.strip() == GATEWAYS:
            return list(self.gateway.hosts.values())
        names = patterns.select(pattern, list(self.hosts), self.groups)
        return [self.hosts[name] for name in names]

    def played_on(self, pattern: str) -> list[Host]:
        """The hosts that a play's `hosts` means, of which `workers` are all. Raises BadInput."""
        return self.select("all" if pattern == "workers" else pattern)

    def chosen(self, limit: str | None, shard: tuple[int, int] | None) -> list[Host]:
        """The hosts of a limit and a part: (i, n) is the i-th of n equal ones, from 1.

        Raises BadInput for a limit that fits no host.
        """
        hosts = self.select(limit)
        part, parts = shard or (1, 1)
        return hosts[part - 1 :: parts]


def describe(inventory: Inventory) -> dict[str, Any]:
    """The inventory as JSON can hold it, with every secret masked."""
    shown: dict[str, Any] = _shown(inventory)
    return shown


def _shown(value: Any) -> Any:
    if is_dataclass(value):
        return {item.name: _shown(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {str(key): _shown(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_shown(item) for item in value]
    if isinstance(value, Secret):
        return MASK
    if value is None or isinstance(value, (bool, int, float)):
        return value
    return mask(str(value))
