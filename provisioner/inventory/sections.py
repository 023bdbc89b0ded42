"""What a schema is made of: sections of keys, and the kinds of their values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from provisioner.inventory.fields import Check
from provisioner.inventory.merge import plain


class Key:
    """A key of a section: the kind of its values, its default and its meaning.

    It may be null where its default is. The default of a section is that of each of its keys, or
    null where it need not be there.
    """

    def __init__(self, kind: Kind, default: Any, description: str) -> None:
        self.kind, self.description = kind, description
        whole = isinstance(kind, type) and default is not None
        self.default = values(kind, default) if whole else default  # type: ignore[arg-type]


class Section:
    """A mapping in the file, with a `Key` for each key; all others are errors."""

    keys: ClassVar[dict[str, Key]] = {}
    """By name; those of the section that this one extends come first."""

    def __init_subclass__(cls) -> None:
        own = {name: key for name, key in vars(cls).items() if isinstance(key, Key)}
        cls.keys = cls.keys | own


class ListOf:
    """A list of values of one kind."""

    def __init__(self, item: Kind) -> None:
        self.item = item


class ByName:
    """A mapping of names to sections of one kind."""

    def __init__(self, section: type[Section]) -> None:
        self.section = section


Kind = Check | ListOf | ByName | type[Section]


def values(section: type[Section], data: Mapping[str, Any]) -> dict[str, Any]:
    """Each key of `section` with its value in `data`, or its default; `data` is known to be good.

    Sections in it are plain mappings, and nothing that can change is shared with `data`.
    """
    return {
        name: plain(key.default) if data.get(name) is None else _value(key.kind, data[name])
        for name, key in section.keys.items()
    }


def _value(kind: Kind, given: Any) -> Any:
    if isinstance(kind, type):
        return values(kind, given)
    if isinstance(kind, ByName):
        return {name: values(kind.section, entry) for name, entry in given.items()}
    if isinstance(kind, ListOf):
        return [_value(kind.item, item) for item in given]
    return plain(kind(given))
