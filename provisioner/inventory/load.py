"""From a file, or from addresses on the command line, to an Inventory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.inventory import conflicts, schema, sourced
from provisioner.inventory.document import check_document, normalise
from provisioner.inventory.extra import COMMAND_LINE, split_extra
from provisioner.inventory.merge import mark, marked, merge, merge_all, place, without
from provisioner.inventory.model import (
    GATEWAY,
    Gateway,
    Host,
    Inventory,
    Standby,
    standby_name,
)
from provisioner.inventory.references import References
from provisioner.inventory.sections import values
from provisioner.inventory.target import parse_target
from provisioner.yamlsource import MarkedDict, load_yaml

ADMIN_TOKEN_VARIABLE = "B9_ADMIN_TOKEN"  # noqa: S105 — a name
_ONE_SHOT = Source("command line")
_SHARED_LOGIN = ("user", "identity_file", "jump", "become_password", "connect_timeout")


def load_inventory(
    path: Path,
    extra: dict[str, Any] | None = None,
    *,
    refresh: bool = False,
    further: Mapping[str, dict[str, Any]] | None = None,
) -> Inventory:
    """Read an inventory; `extra` (see `parse_extra`) goes over everything in it.

    Secrets are resolved at once, and clouds under `sources` are asked, or their listings taken that
    were kept from before, unless it is to `refresh`. `further` hosts are added where neither the
    file nor a source has them. Raises one BadInput with all that is wrong.
    """
    references = References(path.parent)
    try:
        data = load_yaml(path, references.tags)
    except BadInput as error:
        raise BadInput([*references.problems, *error.problems]) from None
    return _build(data, str(path), extra, references.problems, refresh, further)


def one_shot(
    targets: list[str], gateway: str | None, extra: dict[str, Any] | None = None
) -> Inventory:
    """An inventory of `USER@ADDRESS[:PORT]` targets, with no file.

    What `extra` says of connections holds for the gateway host as well; the admin token is its
    `gateway.admin_token` or the environment's B9_ADMIN_TOKEN. Raises BadInput.
    """
    problems: list[Problem] = []
    hosts = MarkedDict()
    for text in targets:
        name, entry, problem = parse_target(text, "--host")
        if problem:
            problems.append(problem)
        elif name in hosts:
            problems.append(Problem(f"{text!r} is given twice", Source("--host")))
        else:
            hosts[name] = entry
    data: dict[str, Any] = {"hosts": dict(hosts)}
    if gateway is not None:
        _, entry, problem = parse_target(gateway, "--gateway-host")
        problems += [problem] if problem else []
        data["gateway"] = _one_shot_gateway(entry, extra or {})
    if problems:
        raise BadInput(problems)
    return _build(mark(data, _ONE_SHOT), _ONE_SHOT.file, extra, [])


def _one_shot_gateway(entry: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
    shared = {"user", "identity_file", "become_password", "connect_timeout"}
    section = {key: value for key, value in extra.items() if key in shared} | entry
    section["host"] = section.pop("address", None)
    token = os.environ.get(ADMIN_TOKEN_VARIABLE)
    return section | ({"admin_token": token} if token else {})


def _build(
    data: Any,
    source: str,
    extra: dict[str, Any] | None,
    problems: list[Problem],
    refresh: bool = False,
    further: Mapping[str, dict[str, Any]] | None = None,
) -> Inventory:
    gateway_extra, host_extra, wrong = split_extra(extra)
    if isinstance(data, MarkedDict):
        data = normalise(data)
        if gateway_extra and not wrong:
            over = marked(data.source, {"gateway": gateway_extra}, {"gateway": COMMAND_LINE})
            data = merge(data, over)
    _refuse([*problems, *wrong, *check_document(data, source, further is not None)])
    data, found = sourced.with_machines(data, refresh)
    data = sourced.with_further(data, further or {}, found)
    _refuse(check_document(data, source) if found or further else [])
    membership = _membership(data)
    layers = {name: _merged(data, name, membership[name], host_extra) for name in membership}
    gateway = _gateway(data, host_extra)
    _refuse(conflicts.check(data, layers, gateway))
    hosts = {name: _host(name, layer, membership[name]) for name, layer in layers.items()}
    groups = {
        group: tuple(name for name in hosts if group in membership[name])
        for group in data.get("groups", {})
    }
    return Inventory(gateway, hosts, groups, source, found)


def _refuse(problems: list[Problem]) -> None:
    if problems:
        unique = dict.fromkeys(problems)
        raise BadInput(
            sorted(unique, key=lambda problem: problem.where.line if problem.where else 0)
        )


def _membership(data: MarkedDict) -> dict[str, tuple[str, ...]]:
    """The groups of each host, in the file's order of groups."""
    groups = data.get("groups", {})
    return {
        name: tuple(
            group
            for group, entry in groups.items()
            if name in entry.get("hosts", ()) or group in host.get("groups", ())
        )
        for name, host in data.get("hosts", {}).items()
    }


def _merged(data: MarkedDict, name: str, groups: tuple[str, ...], extra: MarkedDict) -> MarkedDict:
    none = marked(data.source, {})
    layers = [
        data.get("defaults", none),
        *(without(data["groups"][group], ["hosts"]) for group in groups),
        without(data["hosts"][name], ["groups"]),
        extra,
    ]
    merged = merge_all(layers)
    if merged.get("address") is None:
        merged["address"] = name
        merged.key_sources["address"] = data["hosts"].where(name)
    return merged


def _host(name: str, layer: MarkedDict, groups: tuple[str, ...]) -> Host:
    settings = values(schema.HostSettings, layer)
    settings.pop("groups")
    own = settings.pop("vars")
    connection = {key: settings.pop(key) for key in schema.CONNECTION_KEYS}
    connection["identity_file"] = conflicts.identity_path(layer)
    for key in schema.LOCAL_ARTIFACTS if "artifacts" in layer else ():
        settings["artifacts"][key] = conflicts.local_path(layer["artifacts"], key)
    return Host(name=name, **connection, variables={**settings, **own}, groups=groups)


def _gateway(data: MarkedDict, extra: MarkedDict) -> Gateway:
    section = data.get("gateway", marked(data.source, {}))
    settings = values(schema.GatewaySettings, section)
    return Gateway(
        host=_gateway_host(data, section, extra, GATEWAY) if settings["host"] else None,
        api=settings["api"],
        url=settings["url"],
        admin_token=settings["admin_token"],
        manage=settings["manage"],
        addresses=settings["addresses"],
        forwards=settings["forwards"],
        tunnel_address=settings["tunnel_address"],
        tunnel_port=settings["tunnel_port"],
        standby=tuple(
            _standby(data, section, name, extra) for name in section.get("standby") or ()
        ),
    )


def _standby(data: MarkedDict, section: MarkedDict, name: str, extra: MarkedDict) -> Standby:
    own = section["standby"][name]
    if own.get("host") is None:
        own = merge(own, marked(section["standby"].where(name), {"host": name}))
    # each host has a port and a key of its own
    shared = without(section, section.keys() - {*_SHARED_LOGIN, "vars"})
    host = _gateway_host(data, merge(shared, own), extra, standby_name(name))
    return Standby(
        host,
        own.get("tunnel_address") or host.address,
        int(own.get("tunnel_port") or host.port),
    )


def _gateway_host(data: MarkedDict, section: MarkedDict, extra: MarkedDict, name: str) -> Host:
    """A gateway host: its own connection settings; variables from defaults and -e as well."""
    own = without(section, section.keys() - {*schema.CONNECTION_KEYS, "vars"})
    own["address"] = section["host"]
    own.key_sources["address"] = place(section, ["host"], section.source)
    shared = [*schema.CONNECTION_KEYS, *schema.HOST_ONLY_KEYS]
    defaults = without(data.get("defaults", marked(data.source, {})), shared)
    return _host(name, merge_all([defaults, own, without(extra, shared)]), ())
