"""Ansible's filters, tests and lookups that roles really use."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import posixpath
import re
import shlex
import time
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


def combine(
    first: Mapping[Any, Any] | list[Mapping[Any, Any]],
    *others: Mapping[Any, Any],
    recursive: bool = False,
    list_merge: str = "replace",
) -> Any:
    if list_merge not in _LIST_MERGES:
        raise FilterFailed(f"combine: list_merge can't be {list_merge!r}")
    if isinstance(first, (list, tuple)):
        first, others = ({}, (*first, *others))
    merged = dict(first)
    for other in others:
        for key, value in other.items():
            old = merged.get(key)
            if recursive and isinstance(value, Mapping) and isinstance(old, Mapping):
                value = combine(old, value, recursive=True, list_merge=list_merge)
            elif isinstance(value, list) and isinstance(old, list):
                value = _LIST_MERGES[list_merge](old, value)
            merged[key] = value
    return merged


_LIST_MERGES: dict[str, Callable[[list[Any], list[Any]], list[Any]]] = {
    "replace": lambda old, new: new,
    "keep": lambda old, new: old,
    "append": lambda old, new: old + new,
    "prepend": lambda old, new: new + old,
    "append_rp": lambda old, new: [item for item in old if item not in new] + new,
    "prepend_rp": lambda old, new: new + [item for item in old if item not in new],
}


def regex_replace(
    value: Any,
    pattern: str,
    replacement: str = "",
    ignorecase: bool = False,
    multiline: bool = False,
    count: int = 0,
) -> str:
    flags = _flags(ignorecase, multiline)
    return re.sub(pattern, replacement, str(value), count=count, flags=flags)


def regex_search(
    value: Any, pattern: str, *groups: str, ignorecase: bool = False, multiline: bool = False
) -> Any:
    found = re.search(pattern, str(value), flags=_flags(ignorecase, multiline))
    if found is None:
        return None
    if not groups:
        return found.group()
    keys = [group[3:-1] if group.startswith("\\g<") else group.lstrip("\\") for group in groups]
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


def flatten(value: Any, levels: int | None = None, skip_nulls: bool = True) -> list[Any]:
    flat: list[Any] = []
    for item in value:
        if isinstance(item, (list, tuple)) and levels != 0:
            flat += flatten(item, None if levels is None else levels - 1, skip_nulls)
        elif item is not None or not skip_nulls:
            flat.append(item)
    return flat


def union(first: list[Any], second: list[Any]) -> list[Any]:
    return _distinct([*first, *second])


def difference(first: list[Any], second: list[Any]) -> list[Any]:
    return _distinct([item for item in first if item not in second])


def intersect(first: list[Any], second: list[Any]) -> list[Any]:
    return _distinct([item for item in first if item in second])


def symmetric_difference(first: list[Any], second: list[Any]) -> list[Any]:
    return difference(union(first, second), intersect(first, second))


def _distinct(items: list[Any]) -> list[Any]:
    distinct: list[Any] = []
    for item in items:
        if item not in distinct:  # they may be mappings, which no set holds
            distinct.append(item)
    return distinct


def subelements(value: Any, key: str, skip_missing: bool = False) -> list[Any]:
    pairs = []
    for item in value.values() if isinstance(value, Mapping) else value:
        inner: Any = item
        for part in key.split("."):
            if part not in inner and not skip_missing:
                raise FilterFailed(f"subelements: there is no {part!r} in {item!r}")
            inner = inner.get(part, [])
        pairs += [[item, each] for each in inner]
    return pairs


def extract(key: Any, container: Any, more: Any = None) -> Any:
    found = container[key]
    for each in more if isinstance(more, list) else [] if more is None else [more]:
        found = found[each]
    return found


def regex_findall(
    value: Any, pattern: str, multiline: bool = False, ignorecase: bool = False
) -> list[Any]:
    return re.findall(pattern, str(value), flags=_flags(ignorecase, multiline))


def comment(value: Any, style: str = "plain", decoration: str | None = None) -> str:
    marks = {"plain": "# ", "erlang": "% ", "c": "// "}
    mark = decoration if decoration is not None else marks.get(style)
    if mark is None:
        raise FilterFailed(f"comment: style {style!r} is not supported")
    edge = mark.rstrip()
    lines = [f"{mark}{line}".rstrip() for line in str(value).splitlines()]
    return "\n".join([edge, *lines, edge])


def _matches(how: Callable[..., Any]) -> Callable[..., bool]:
    def test(
        value: Any, pattern: str = "", ignorecase: bool = False, multiline: bool = False
    ) -> bool:
        return how(pattern, str(value), flags=_flags(ignorecase, multiline)) is not None

    return test


def _on_disk(how: Callable[[Path], bool]) -> Callable[[Any], bool]:
    """A test of a path on the controller, as Ansible has it."""
    return lambda value: how(Path(str(value)))


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


def _strftime(pattern: str, second: float | None, utc: bool) -> str:
    moment = time.time() if second is None else float(second)
    return time.strftime(pattern, time.gmtime(moment) if utc else time.localtime(moment))


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
    "split": lambda value, separator=None: str(value).split(separator),
    "splitext": lambda value: list(posixpath.splitext(value)),
    "flatten": flatten,
    "union": union,
    "difference": difference,
    "intersect": intersect,
    "symmetric_difference": symmetric_difference,
    "product": lambda *lists: [list(items) for items in itertools.product(*lists)],
    "subelements": subelements,
    "extract": extract,
    "regex_findall": regex_findall,
    "checksum": digest,
    "comment": comment,
    "type_debug": lambda value: type(value).__name__,
    "from_yaml_all": lambda value: list(yaml.safe_load_all(value)),
    "strftime": lambda pattern, second=None, utc=False: _strftime(pattern, second, utc),
}

TESTS: dict[str, Callable[..., Any]] = {
    "version": version_compare,
    "match": _matches(re.match),
    "search": _matches(re.search),
    "regex": _matches(re.search),
    "contains": lambda value, item: item in value,
    "any": any,
    "all": all,
    "truthy": bool,
    "falsy": lambda value: not value,
    "file": _on_disk(Path.is_file),
    "directory": _on_disk(Path.is_dir),
    "link": _on_disk(Path.is_symlink),
    "exists": _on_disk(Path.exists),
    "abs": _on_disk(Path.is_absolute),
    "changed": _outcome("changed"),
    "failed": _outcome("failed"),
    "succeeded": _outcome("failed", wanted=False),
    "success": _outcome("failed", wanted=False),
    "skipped": _outcome("skipped"),
    "subset": lambda value, other: set(value) <= set(other),
    "superset": lambda value, other: set(value) >= set(other),
}
