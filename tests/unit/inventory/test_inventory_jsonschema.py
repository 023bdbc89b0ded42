"""The inventory's JSON Schema takes what b9prov takes, and tells an editor what is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from provisioner.errors import BadInput
from provisioner.inventory import load_inventory, schema
from provisioner.inventory.fields import SHAPES
from provisioner.inventory.jsonschema import inventory_schema
from provisioner.inventory.sections import ByName, Kind, ListOf

EXAMPLE = Path(__file__).parents[3] / "inventory.example.yaml"
SCHEMA = inventory_schema()
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
ODD = (
    "null",
    "[]",
    "[null]",
    "[a]",
    "{}",
    "{a: b}",
    "7",
    "-1.5",
    "true",
    "yes",
    "'22'",
    "'on'",
    "''",
    "é",
)


class Editor(yaml.SafeLoader):
    """Reads values by reference as editors do, which are told of these tags."""


Editor.add_multi_constructor("!", lambda loader, tag, node: "a reference")


def read(text: str) -> Any:
    return yaml.load(text, Editor)


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def test_every_kind_has_a_shape() -> None:
    def kinds(kind: Kind) -> list[Kind]:
        if isinstance(kind, ListOf):
            return kinds(kind.item)
        section = kind.section if isinstance(kind, ByName) else kind
        if isinstance(section, type):
            return [each for key in section.keys.values() for each in kinds(key.kind)]
        return [section]

    assert [kind for kind in kinds(schema.Document) if kind not in SHAPES] == []


def test_the_example_fits() -> None:
    VALIDATOR.validate(read(EXAMPLE.read_text()))


@pytest.mark.parametrize("odd", ODD)
def test_what_b9prov_takes_fits(odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "an-admin-token")
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    taken = 0
    for number, line in enumerate(lines):
        key, colon, rest = line.partition(":")
        if not colon or line.startswith("#") or not rest.partition("#")[0].strip():
            continue
        path = tmp_path / "inv.yaml"
        path.write_text("\n".join([*lines[:number], f"{key}: {odd}", *lines[number + 1 :]]))
        try:
            load_inventory(path)
        except BadInput:
            continue
        VALIDATOR.validate(read(path.read_text()))
        taken += 1
    assert taken


@pytest.mark.parametrize(
    "wrong",
    [
        "hosts: {w1: {pol: gpu}}",
        "hosts: {w1: {port: 99999}}",
        "hosts: {w1: {k3s: {mode: servant}}}",
        "hosts: {w1: {gpu: maybe}}",
        "hosts: {w1: {ollama: {models: llama3}}}",
        "gateway: {hosts: 203.0.113.10}",
        "defaults: {address: 203.0.113.10}\nhosts: {w1: }",
    ],
)
def test_what_is_wrong_does_not_fit(wrong: str) -> None:
    assert not VALIDATOR.is_valid(read(wrong))


def test_it_knows_meanings_and_defaults() -> None:
    ollama = SCHEMA["definitions"]["Ollama"]["properties"]
    assert ollama["port"]["description"] == "port it listens on"
    assert ollama["port"]["default"] == 11434
