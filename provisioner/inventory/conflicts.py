"""Settings that are right one by one and wrong together."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from provisioner.errors import Problem, Source
from provisioner.inventory import fields, schema
from provisioner.inventory.merge import place
from provisioner.inventory.model import Gateway
from provisioner.secrets import revealed
from provisioner.yamlsource import MarkedDict


def check(data: MarkedDict, hosts: dict[str, MarkedDict], gateway: Gateway) -> list[Problem]:
    """What is wrong between settings, given every host's merged ones."""
    problems = [
        *_shared(hosts, "address", _endpoint, "two workers would fight over one machine"),
        *_shared(hosts, "machine_id", _machine, "each worker is a machine of its own"),
        *_pool_size(data, len(hosts), gateway),
        *_forwards(data, hosts, gateway),
        *_identity(data.get("gateway", data), data.source),
        *_standby(data.get("gateway", {})),
    ]
    for name, layer in hosts.items():
        where = data["hosts"].where(name)
        problems += [
            *_machine_pair(name, layer, where),
            *_join(name, layer, where),
            *_kubernetes(name, layer, where),
            *_identity(layer, where),
            *_own_names(layer, where),
            *_push(layer.get("artifacts", {}), where),
            *_probe(layer.get("ollama", {}), where),
        ]
    return problems


def identity_path(layer: MarkedDict) -> str | None:
    """The private key's path; a relative one starts at the file that gives it."""
    return local_path(layer, "identity_file")


def local_path(layer: MarkedDict, key: str) -> str | None:
    """A path on the controller; a relative one starts at the file that gives it."""
    given = layer.get(key)
    if given is None:
        return None
    directory = Path(layer.where(key).file).parent
    return str((directory / Path(revealed(given)).expanduser()).absolute())


def _shared(
    hosts: dict[str, MarkedDict], key: str, identity: Callable[[MarkedDict], str | None], why: str
) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for name, layer in hosts.items():
        value = identity(layer)
        if value is None:
            continue
        if value in first:
            message = f"hosts.{name}: the same {key} as hosts.{first[value]}, {value}"
            yield Problem(message, layer.where(key), why)
        first.setdefault(value, name)


def _endpoint(layer: MarkedDict) -> str:
    # behind different jump hosts the same private address is another machine
    jump, address, port = (revealed(layer.get(key)) for key in ("jump", "address", "port"))
    via = f" by {jump}" if jump else ""
    return f"{str(address).lower()} port {port or 22}{via}"


def _machine(layer: MarkedDict) -> str | None:
    found: str | None = revealed(layer.get("machine_id"))
    return found


def _pool_size(data: MarkedDict, wanted: int, gateway: Gateway) -> Iterator[Problem]:
    network = ipaddress.IPv4Network(gateway.addresses)
    if gateway.host is None and gateway.url is None:
        return  # an inventory for playbooks of one's own
    # .0 and .255 are not handed out: too much takes them for a network or a broadcast
    usable = (address for address in network.hosts() if address.packed[3] not in (0, 255))
    room = len(list(islice(usable, wanted)))
    if room < wanted:
        message = f"gateway.addresses: {network} has {room} addresses for {wanted} hosts"
        where = place(data, ["gateway", "addresses"], data.source)
        blocks = -(-wanted // 254)  # of 256 addresses each
        prefix = 24 - (blocks - 1).bit_length()
        yield Problem(message, where, f"give a wider network, such as a /{prefix}")


def _forwards(
    data: MarkedDict, hosts: dict[str, MarkedDict], gateway: Gateway
) -> Iterator[Problem]:
    default = schema.Tunnel.port.default
    taken = {
        int(revealed(layer.get("tunnel", {}).get("port", default))) for layer in hosts.values()
    }
    for index, forward in enumerate(gateway.forwards):
        port = int(forward.split(":")[0])
        if port in taken:
            where = place(data, ["gateway", "forwards", index], data.source)
            yield Problem(
                f"gateway.forwards: port {port} of a worker is taken already",
                where,
                "choose another",
            )
        taken.add(port)


def _standby(gateway: MarkedDict) -> Iterator[Problem]:
    endpoints = {(gateway.get("host"), int(gateway.get("port") or 22))}
    for name, own in (gateway.get("standby") or {}).items():
        where = gateway["standby"].where(name)
        yield from _identity(own, where)
        endpoint = (own.get("host") or name, int(own.get("port") or 22))
        if endpoint in endpoints:
            yield Problem(
                f"gateway.standby.{name}: {endpoint[0]} port {endpoint[1]} is a host already", where
            )
        endpoints.add(endpoint)


def _machine_pair(name: str, layer: MarkedDict, where: Source) -> Iterator[Problem]:
    if bool(layer.get("machine_id")) != bool(layer.get("machine_token")):
        given = "machine_id" if layer.get("machine_id") else "machine_token"
        missing = "machine_token" if given == "machine_id" else "machine_id"
        message = f"hosts.{name}: {given} is given without {missing}"
        yield Problem(message, place(layer, [given], where), "they go together")


def _join(name: str, layer: MarkedDict, where: Source) -> Iterator[Problem]:
    k3s = layer.get("k3s", {})
    missing = [key for key in ("url", "token") if not k3s.get(key)]
    if k3s.get("mode") == "join" and missing:
        message = f"hosts.{name}: k3s.mode join needs k3s.{' and k3s.'.join(missing)}"
        yield Problem(message, place(layer, ["k3s", "mode"], where))


def _kubernetes(name: str, layer: MarkedDict, where: Source) -> Iterator[Problem]:
    k3s = layer.get("k3s", {})
    for key in k3s.get("config") or {}:
        if own := _OF_K3S_CONFIG.get(key):
            message = f"hosts.{name}: k3s.config can't have {key!r}"
            yield Problem(message, place(layer, ["k3s", "config", key], where), f"it is {own}")
    if k3s.get("kubeconfig"):
        there = place(layer, ["k3s", "kubeconfig"], where)
        if k3s.get("mode", schema.K3s.mode.default) != "existing":
            yield Problem(f"hosts.{name}: k3s.kubeconfig goes with k3s.mode existing", there)
        if k3s.get("prepull"):
            message = f"hosts.{name}: k3s.prepull goes with a k3s, not with k3s.kubeconfig"
            yield Problem(message, there, "have that Kubernetes pull its images itself")


_OF_K3S_CONFIG = {
    "server": "k3s.url",
    "token": "k3s.token",
    "data-dir": "k3s.data_dir",
    "kubelet-arg": "k3s.kubelet_args",
    "node-name": "the host's name in this inventory",
}
"""Keys of k3s's config.yaml that the inventory has keys of its own for."""


def _identity(layer: MarkedDict, where: Source) -> Iterator[Problem]:
    path = identity_path(layer)
    # with the public half alone the key itself may be an agent's
    if path and not Path(path).exists() and not Path(path + ".pub").exists():
        message = f"identity_file: no such file: {path}"
        yield Problem(message, place(layer, ["identity_file"], where))


def _own_names(layer: MarkedDict, where: Source) -> Iterator[Problem]:
    for key in layer.get("vars", {}):
        if key in schema.HostSettings.keys:
            message = f"{key!r} is a setting, not a variable of your own"
            yield Problem(message, place(layer, ["vars", key], where), "take it out of vars:")


def _push(artifacts: MarkedDict, host: Source) -> Iterator[Problem]:
    order = artifacts.get("order")
    if order is None:
        return
    where = place(artifacts, ["order"], host)
    if not order:
        yield Problem("artifacts.order is empty: files would come from nowhere", where)
    if "push" in order and not artifacts.get("push_dir"):
        advice = "name the directory on this machine; `b9prov artifacts fetch` fills one"
        yield Problem("artifacts.order has push, without artifacts.push_dir", where, advice)


def _probe(ollama: MarkedDict, host: Source) -> Iterator[Problem]:
    probe = ollama.get("probe")
    if probe is not None and fields.BOOLEAN_OR_WORD(probe) is True and not ollama.get("models"):
        where = place(ollama, ["probe"], host)
        yield Problem("ollama.probe wants a model to answer, and none is listed", where)
