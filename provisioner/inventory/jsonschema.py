"""The inventory's schema as JSON Schema, for editors.

It takes all that b9prov takes, and finds unknown keys, wrong types and wrong words. What a value
by reference stands for is known to b9prov alone: for an editor it is text.
"""

from __future__ import annotations

from typing import Any

from provisioner.inventory import fields, schema
from provisioner.inventory.sections import ByName, Key, Kind, ListOf, Section
from provisioner.secrets import Secret

DRAFT = "http://json-schema.org/draft-07/schema#"  # the one that editors know best

SHORT_FORMS = (schema.HostSettings, schema.StandbySettings)  # one may be its address alone

Json = dict[str, Any]


def inventory_schema() -> Json:
    """The JSON Schema of an inventory file."""
    definitions: dict[str, Json] = {}
    _section(schema.Document, definitions)
    document = definitions.pop(schema.Document.__name__)
    return {
        "$schema": DRAFT,
        "title": "b9prov inventory",
        **document,
        "definitions": definitions,
    }


def _section(section: type[Section], definitions: dict[str, Json]) -> Json:
    """A reference to a section's definition, which is made when it is not there."""
    name = section.__name__
    if name not in definitions:
        definitions[name] = {}  # sections may name each other
        definitions[name] = {
            "type": "object",
            "description": " ".join((section.__doc__ or "").split()),
            "properties": {
                key: _described(each, definitions) for key, each in section.keys.items()
            },
            "additionalProperties": False,
        }
        if not section.__doc__:
            del definitions[name]["description"]
    return {"$ref": f"#/definitions/{name}"}


def _described(key: Key, definitions: dict[str, Json]) -> Json:
    kind = _kind(key.kind, definitions)
    is_empty = isinstance(key.kind, (type, ByName)) or key.kind is fields.VARIABLES
    if (key.default is None or is_empty) and kind:
        kind = _or_null(kind)
    described = {"description": key.description, **kind}
    if not isinstance(key.kind, type) and not isinstance(key.default, Secret):
        described["default"] = key.default
    return described


def _or_null(kind: Json) -> Json:
    return {"anyOf": [kind, {"type": "null"}]}


def _kind(kind: Kind, definitions: dict[str, Json]) -> Json:
    if isinstance(kind, ListOf):
        return {"type": "array", "items": _kind(kind.item, definitions)}
    if isinstance(kind, ByName):
        entry: list[Json] = [_section(kind.section, definitions), {"type": "null"}]
        if kind.section in SHORT_FORMS:
            entry.append({"type": "string"})
        return {"type": "object", "additionalProperties": {"anyOf": entry}}
    if isinstance(kind, type):
        return _section(kind, definitions)
    return fields.SHAPES.get(kind, {})
