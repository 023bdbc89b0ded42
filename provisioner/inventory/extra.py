"""Settings and variables from the command line, in Ansible's forms of `-e`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.inventory import schema
from provisioner.inventory.explain import check
from provisioner.inventory.merge import mark, marked, merge, without
from provisioner.inventory.references import References
from provisioner.yamlsource import MarkedDict, load_yaml, parse_yaml

COMMAND_LINE = Source("-e")


def parse_extra(items: list[str]) -> dict[str, Any]:
    """The variables of `-e k=v`, `-e '{"k": 1}'` and `-e @file.yaml`, later ones over earlier.

    Values of `k=v` are text, as in Ansible. Raises BadInput.
    """
    result = marked(COMMAND_LINE, {})
    for item in items:
        result = merge(result, _parse(item.strip()))
    return result


def _parse(item: str) -> MarkedDict:
    if item.startswith("@"):
        path = Path(item[1:]).expanduser()
        references = References(path.parent)
        data = load_yaml(path, references.tags)
        if references.problems:
            raise BadInput(references.problems)
        return _mapping(data, Source(str(path)))
    if item.startswith(("{", "[")):
        return _mapping(parse_yaml(item, str(COMMAND_LINE)), COMMAND_LINE)
    return _pairs(item)


def _mapping(data: Any, where: Source) -> MarkedDict:
    if data is None:
        return marked(where, {})
    if not isinstance(data, MarkedDict):
        raise BadInput.of("expected a mapping of variables", where)
    return data


def _pairs(item: str) -> MarkedDict:
    try:
        words = shlex.split(item)
    except ValueError:
        raise BadInput.of(f"a quote is not closed in {item!r}", COMMAND_LINE) from None
    result = marked(COMMAND_LINE, {})
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key:
            raise BadInput.of(
                f"expected NAME=VALUE, a mapping in braces or @FILE, got {word!r}", COMMAND_LINE
            )
        result[key] = value
    return result


def split_extra(extra: dict[str, Any] | None) -> tuple[MarkedDict, MarkedDict, list[Problem]]:
    """What `-e` says of the gateway, what it says of every host, and what is wrong with it.

    Names that are no setting become variables.
    """
    data = mark(extra or {}, COMMAND_LINE)
    gateway: Any = data.get("gateway") or marked(COMMAND_LINE, {})
    known = without(data, {key for key in data if key not in schema.HostSettings.keys})
    own = without(data, {"gateway", *known})
    settings = merge(known, marked(own.source, {"vars": own})) if own else known
    problems = [
        *check(schema.Document, {"gateway": gateway}, data.where("gateway")),
        *check(schema.HostSettings, settings, settings.source),
    ]
    if "groups" in known:
        advice = "groups belong in the inventory"
        problems.append(Problem("'groups' can't be set by -e", data.where("groups"), advice))
    return gateway, settings, problems
