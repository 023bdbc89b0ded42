"""The inventory file as data: short forms made long, and checked."""

from __future__ import annotations

from typing import Any

from provisioner.errors import Problem, Source
from provisioner.inventory import schema
from provisioner.inventory.explain import check, shown, suggestion
from provisioner.inventory.merge import marked, place
from provisioner.secrets import Secret
from provisioner.yamlsource import MarkedDict, MarkedList

_SECTIONS = frozenset(
    name for name, key in schema.HostSettings.keys.items() if isinstance(key.kind, type)
) | {"vars"}
EXAMPLE = "inventory.example.yaml shows every key"


def normalise(data: MarkedDict) -> MarkedDict:
    """`data` with every host and section a mapping, where the file has a short form or nothing."""
    result = _mapped(data, {"gateway", "defaults", "groups", "hosts"})
    for name in ("gateway", "defaults"):
        if isinstance(result.get(name), MarkedDict):
            result[name] = _mapped(result[name], _SECTIONS)
    for name, short in (("groups", ""), ("hosts", "address")):
        if isinstance(result.get(name), MarkedDict):
            result[name] = _entries(result[name], short)
    gateway = result.get("gateway")
    if isinstance(gateway, MarkedDict) and isinstance(gateway.get("standby"), MarkedDict):
        gateway["standby"] = _entries(gateway["standby"], "host")
    if isinstance(result.get("sources"), MarkedList):
        result["sources"] = _sources(result["sources"])
    return result


def _sources(data: MarkedList) -> MarkedList:
    """`data` with a mapping for each source; a cloud's bare name is all that it has."""
    result = MarkedList()
    result.source, result.item_sources = data.source, data.item_sources
    for item, where in zip(data, data.item_sources, strict=True):
        if isinstance(item, str):
            item = marked(where, {item: marked(where, {})})
        elif isinstance(item, MarkedDict):
            item = _mapped(item, set(item))
        result.append(item)
    return result


def _mapped(data: MarkedDict, keys: frozenset[str] | set[str]) -> MarkedDict:
    """`data` with an empty mapping for each of `keys` that has no value."""
    result = marked(data.source, data, data.key_sources)
    for key in keys & data.keys():
        if data[key] is None:
            result[key] = marked(data.where(key), {})
    return result


def _entries(data: MarkedDict, short: str) -> MarkedDict:
    """`data` with a mapping for each entry; a bare address becomes its key `short`, if any."""
    result = marked(data.source, data, data.key_sources)
    for name, value in data.items():
        if value is None:
            result[name] = marked(data.where(name), {})
        elif short and isinstance(value, (str, Secret)):
            result[name] = marked(data.where(name), {short: value})
        elif isinstance(value, MarkedDict):
            result[name] = _mapped(value, _SECTIONS)
    return result


def check_document(data: Any, file: str, hosts_follow: bool = False) -> list[Problem]:
    """What is wrong with the file by itself. `data` is normalised, if it is a mapping."""
    where = Source(file)
    if data is None:
        return [Problem("the inventory is empty", where, EXAMPLE)]
    if not isinstance(data, MarkedDict):
        return [Problem(f"expected a mapping, got {shown(data)}", Source(file, 1), EXAMPLE)]
    return check(schema.Document, data, where) or [
        *_check_needed(data, where, hosts_follow),
        *_check_names(data),
    ]


def _check_needed(data: MarkedDict, file: Source, hosts_follow: bool) -> list[Problem]:
    """What must be there."""
    problems = []
    gateway = data.get("gateway", {"host": "not even named"})
    if not gateway.get("host") and not gateway.get("url"):
        advice = "the SSH address of the gateway host, or the URL of the API"
        problems.append(Problem("gateway: host or url is needed", data.where("gateway"), advice))
    if gateway.get("standby") and not gateway.get("host"):
        message = "gateway: standby without host"
        problems.append(Problem(message, gateway.where("standby"), "name the first under host:"))
    for index, source in enumerate(data.get("sources", ())):
        if len(source) != 1:
            advice = f"write one of {', '.join(schema.CLOUDS)}"
            at = place(data, ["sources", index], file)
            problems.append(Problem("sources: each is of one cloud", at, advice))
    if not (data.get("hosts") or data.get("sources") or hosts_follow):
        problems.append(Problem("there are no hosts", place(data, ["hosts"], file), EXAMPLE))
    return problems


def _check_names(data: MarkedDict) -> list[Problem]:
    """Hosts that groups name, groups that hosts name; the types are known to be right."""
    nothing: dict[str, Any] = {}
    hosts, groups = data.get("hosts", nothing), data.get("groups", nothing)
    problems = [
        Problem(f"{name!r} is both a host and a group", groups.where(name))
        for name in groups
        if name in hosts
    ]
    for kind, entries, others in (("host", groups, hosts), ("group", hosts, groups)):
        for name, entry in entries.items():
            for index, other in enumerate(entry.get(f"{kind}s", ())):
                if other not in others:
                    own = "groups" if kind == "host" else "hosts"
                    problems.append(
                        Problem(
                            f"{own}.{name}: there is no {kind} {other!r}",
                            place(data, [own, name, f"{kind}s", index], data.source),
                            suggestion(other, list(others)) or f"add it under {kind}s:",
                        )
                    )
    return problems
