"""Ansible's filters, tests and lookups that roles really use."""

from __future__ import annotations

import base64
import hashlib
import json
import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jinja2
import yaml

from provisioner.remote.arguments import TRUE


class FilterFailed(Exception):
    """A filter or lookup was given what it can't work with."""


def to_bool(value: Any) -> bool:
    return value if isinstance(value, bool) else str(value).strip().lower() in TRUE


def combine(first: Mapping[Any, Any], *others: Mapping[Any, Any], recursive: bool = False) -> Any:
    merged = dict(first)
    for other in others:
        for key, value in other.items():
            both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
            merged[key] = (
                combine(merged[key], value, recursive=True) if recursive and both else value
            )
    return merged


def regex_replace(
    value: Any,
    pattern: str,
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
) -> str:
    return re.sub(pattern, replacement, str(value), flags=_flags(ignorecase, multiline))


def regex_search(
    value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Any:
    found = re.search(pattern, str(value), flags=_flags(ignorecase, multiline))
    if found is None:
        return None
    if not groups:
        return found.group()
    keys = [group.lstrip("\\") if group[0] == "\\" else group[3:-1] for group in groups]
    return [found.group(int(key) if key.isdigit() else key) for key in keys]


def _flags(ignorecase: bool, multiline: bool) -> int:
    return (re.IGNORECASE if ignorecase else 0) | (re.MULTILINE if multiline else 0)


def digest(value: Any, algorithm: str = "sha1") -> str:
    return hashlib.new(algorithm, str(value).encode()).hexdigest()


def mandatory(value: Any, msg: str | None = None) -> Any:
    if isinstance(value, jinja2.Undefined):
        raise FilterFailed(msg or "a mandatory variable is undefined")
    return value


def dict2items(value: Mapping[Any, Any], key_name: str = "key", value_name: str = "value") -> Any:
    return [{key_name: key, value_name: item} for key, item in value.items()]


def items2dict(value: list[Any], key_name: str = "key", value_name: str = "value") -> Any:
    return {item[key_name]: item[value_name] for item in value}


def to_yaml(value: Any, **options: Any) -> str:
    return str(yaml.safe_dump(_plain(value), allow_unicode=True, **options))


def to_nice_yaml(value: Any, indent: int = 4, **options: Any) -> str:
    return to_yaml(value, indent=indent, default_flow_style=False, **options)


def to_json(value: Any, **options: Any) -> str:
    return json.dumps(_plain(value), **options)


def to_nice_json(value: Any, indent: int = 4, **options: Any) -> str:
    return json.dumps(_plain(value), indent=indent, sort_keys=True, **options)


def _plain(value: Any) -> Any:
    """Marked and secret values as the plain types that the dumpers know."""
    if isinstance(value, Mapping):
        return {_plain(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def ternary(value: Any, when_true: Any, when_false: Any, when_none: Any = None) -> Any:
    if value is None and when_none is not None:
        return when_none
    return when_true if value else when_false


def version_compare(value: Any, other: Any, operator: str = "eq", **_: Any) -> bool:
    left, right = _version_key(value), _version_key(other)
    comparisons: dict[str, Callable[[], bool]] = {
        "eq": lambda: left == right,
        "ne": lambda: left != right,
        "lt": lambda: left < right,
        "le": lambda: left <= right,
        "gt": lambda: left > right,
        "ge": lambda: left >= right,
    }
    names = {"==": "eq", "=": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}
    return comparisons[names.get(operator, operator)]()


def _version_key(value: Any) -> list[tuple[int, int | str]]:
    """Numbers compare as numbers and come after words, as in LooseVersion."""
    parts = re.findall(r"\d+|[a-zA-Z]+", str(value))
    return [(1, int(part)) if part.isdigit() else (0, part) for part in parts]


def lookup_file(name: str, search: list[Path]) -> str:
    """The text of the first file of that name in `search`. Raises FilterFailed."""
    for directory in search:
        if (directory / name).is_file():
            return (directory / name).read_text(encoding="utf-8").rstrip()
    raise FilterFailed(f"lookup: no such file: {name}")


def _outcome(key: str, wanted: bool = True) -> Callable[[Any], bool]:
    return lambda result: bool(result.get(key, False)) is wanted


FILTERS: dict[str, Callable[..., Any]] = {
    "bool": to_bool,
    "to_json": to_json,
    "to_nice_json": to_nice_json,
    "from_json": json.loads,
    "to_yaml": to_yaml,
    "to_nice_yaml": to_nice_yaml,
    "from_yaml": yaml.safe_load,
    "combine": combine,
    "dict2items": dict2items,
    "items2dict": items2dict,
    "regex_replace": regex_replace,
    "regex_search": regex_search,
    "regex_escape": re.escape,
    "b64encode": lambda value: base64.b64encode(str(value).encode()).decode(),
    "b64decode": lambda value: base64.b64decode(value).decode(),
    "basename": posixpath.basename,
    "dirname": posixpath.dirname,
    "hash": digest,
    "quote": lambda value: shlex.quote(str(value)),
    "ternary": ternary,
    "zip": lambda *lists: [list(items) for items in zip(*lists, strict=False)],
    "mandatory": mandatory,
}

TESTS: dict[str, Callable[..., Any]] = {
    "version": version_compare,
    "match": lambda value, pattern: re.match(pattern, str(value)) is not None,
    "search": lambda value, pattern: re.search(pattern, str(value)) is not None,
    "regex": lambda value, pattern: re.search(pattern, str(value)) is not None,
    "changed": _outcome("changed"),
    "failed": _outcome("failed"),
    "succeeded": _outcome("failed", wanted=False),
    "success": _outcome("failed", wanted=False),
    "skipped": _outcome("skipped"),
    "subset": lambda value, other: set(value) <= set(other),
    "superset": lambda value, other: set(value) >= set(other),
}
