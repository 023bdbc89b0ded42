"""Which of an account's machines a source means, and what an inventory says of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from provisioner.clouds.box import Box

_NO_NAME = re.compile(r"[^A-Za-z0-9._-]+")
_TEMPLATE = ("{{", "{%", "{#")
_LONGEST_NAME = 63


def chosen(boxes: Iterable[Box], settings: Mapping[str, Any]) -> list[Box]:
    """Those that fit all of a source's filters: `names`, `tags`, `regions`, `states`; by name, for
    jobs that share an inventory have to agree on the order."""
    fitting = (box for box in boxes if _fits(box, settings))
    return sorted(fitting, key=lambda box: (host_name(box), box.id))


def host_name(box: Box) -> str:
    """Its name as a host's: what names can't have becomes `-`; without one, its provider's and the
    begin of its id."""
    word = _NO_NAME.sub("-", box.name).strip("-._")[:_LONGEST_NAME]
    return word or f"{box.provider}-{_NO_NAME.sub('-', box.id)[:8]}"


def variables(box: Box) -> dict[str, Any]:
    """What playbooks see of it, as the variable `cloud`. Text that a provider sent is data: what
    looks like a template is left out."""
    shown = {
        "provider": box.provider,
        "id": box.id,
        "name": box.name,
        "state": box.state,
        "address": box.address,
        "private_address": box.private_address,
        "region": box.region,
        "type": box.type,
        "gpus": box.gpus,
        "price": box.price,
        "tags": {
            key: value
            for key, value in box.tags.items()
            if not _is_template(key) and not _is_template(value)
        },
    }
    return {key: None if _is_template(value) else value for key, value in shown.items()}


def _fits(box: Box, settings: Mapping[str, Any]) -> bool:
    names, regions = settings.get("names") or [], settings.get("regions") or []
    states = settings.get("states") or []
    return (
        (not names or any(fnmatchcase(host_name(box), pattern) for pattern in names))
        and (not regions or box.region in regions)
        and (not states or box.state in states)
        and all(_is_tagged(box, wanted) for wanted in settings.get("tags") or [])
    )


def _is_tagged(box: Box, wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in box.tags and (not equals or box.tags[key] == value)


def _is_template(value: Any) -> bool:
    return isinstance(value, str) and any(mark in value for mark in _TEMPLATE)
