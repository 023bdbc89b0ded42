"""Layers of settings put over one another; every key keeps the place it came from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from provisioner.errors import Source
from provisioner.yamlsource import MarkedDict, MarkedList


def mark(value: Any, source: Source) -> Any:
    """`value` with `source` as the place of everything in it that has none yet."""
    if isinstance(value, MarkedDict):
        items = {key: mark(item, value.where(key)) for key, item in value.items()}
        return marked(value.source, items, {key: value.where(key) for key in value})
    if isinstance(value, dict):
        return marked(source, {key: mark(item, source) for key, item in value.items()})
    if isinstance(value, list) and not isinstance(value, MarkedList):
        result = MarkedList(mark(item, source) for item in value)
        result.source = source
        result.item_sources = [source] * len(value)
        return result
    return value


def marked(
    source: Source, value: dict[Any, Any], key_sources: dict[Any, Source] | None = None
) -> MarkedDict:
    """A MarkedDict of `value`."""
    result = MarkedDict(value)
    result.source = source
    result.key_sources = dict.fromkeys(value, source) if key_sources is None else key_sources
    return result


def merge(base: MarkedDict, over: MarkedDict) -> MarkedDict:
    """`base` with `over` on top: mappings merge deeply, all else is replaced."""
    result = marked(over.source, base, {key: base.where(key) for key in base})
    for key, value in over.items():
        old = base.get(key)
        if isinstance(old, MarkedDict) and isinstance(value, MarkedDict):
            result[key] = merge(old, value)
        else:
            result[key] = value
            result.key_sources[key] = over.where(key)
    return result


def merge_all(layers: Iterable[MarkedDict]) -> MarkedDict:
    """The layers merged, the first at the bottom."""
    result = marked(Source(""), {})
    for layer in layers:
        result = merge(result, layer)
    return result


def without(layer: MarkedDict, keys: Iterable[str]) -> MarkedDict:
    """`layer` less some keys."""
    gone = set(keys)
    kept = {key: value for key, value in layer.items() if key not in gone}
    return marked(layer.source, kept, {key: layer.where(key) for key in kept})


def plain(value: Any) -> Any:
    """`value` without positions, and sharing nothing with it that can change."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def place(data: Any, path: Sequence[Any], fallback: Source) -> Source:
    """Where in its file the value at `path` stands, or the nearest thing around it."""
    where = fallback
    for part in path:
        if isinstance(data, MarkedDict) and part in data:
            where, data = data.where(part), data[part]
        elif isinstance(data, MarkedList) and isinstance(part, int) and part < len(data):
            where, data = data.item_sources[part], data[part]
        else:
            break
    return where
