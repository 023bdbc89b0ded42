"""inventory.example.yaml is the reference: it loads, and has every key, default and meaning."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.errors import BadInput
from provisioner.inventory import load_inventory, schema
from provisioner.inventory.sections import Key, Section
from provisioner.yamlsource import load_yaml

EXAMPLE = Path(__file__).parents[3] / "inventory.example.yaml"
TELLING = {"gateway.host", "gateway.user", "gateway.admin_token", "defaults.user"}
"""Keys whose value is an example and no default."""


def keys(section: type[Section], path: str) -> Iterator[tuple[str, Key]]:
    """Every key of a section and of the sections in it, by its dotted path."""
    for name, key in section.keys.items():
        here = f"{path}.{name}"
        yield here, key
        if isinstance(key.kind, type):
            yield from keys(key.kind, here)


EVERY_KEY = {
    **schema.Document.keys,
    **dict(keys(schema.GatewaySettings, "gateway")),
    **dict(keys(schema.Settings, "defaults")),
    "groups.lambda.hosts": schema.GroupSettings.hosts,
    **{
        f"hosts.w1.{name}": schema.HostSettings.keys[name] for name in sorted(schema.HOST_ONLY_KEYS)
    },
}


ODD = ("null", "[]", "[null]", "{}", "{1: 2}", "7", "-1.5", "true", "2024-01-01", "''", "é")


@pytest.mark.parametrize("odd", ODD)
def test_no_odd_value_of_any_key_makes_loading_crash(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "an-admin-token")
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines):
        key, colon, rest = line.partition(":")
        if not colon or line.startswith("#"):
            continue
        section = not rest.partition("#")[0].strip()
        after = len(lines) if section else number + 1
        path = tmp_path / "inv.yaml"
        path.write_text("\n".join([*lines[:number], f"{key}: {odd}", *lines[after:]]))
        with suppress(BadInput):
            load_inventory(path)


@pytest.fixture(scope="module")
def document() -> Any:
    return load_yaml(EXAMPLE, {"!env": lambda name, where: f"${name}"})


def test_the_example_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "an-admin-token")
    inventory = load_inventory(EXAMPLE)
    assert [host.name for host in inventory.select("office,lambda")] == ["w1", "w4"]
    assert inventory.hosts["w4"].variables["gpu"] is False
    assert inventory.hosts["w3.example.org"].address == "w3.example.org"


def test_the_example_has_every_key_of_a_source_with_its_default_and_meaning() -> None:
    """In comments: a source that is there is asked."""
    _, _, after = EXAMPLE.read_text(encoding="utf-8").partition("\nsources:")
    lines = [line.removeprefix("#") for line in after.splitlines()[1:]]
    sources = {
        name: settings or {}
        for each in yaml.safe_load("\n".join(lines))
        for name, settings in each.items()
    }
    assert list(sources) == list(schema.CLOUDS)
    common = schema.CloudSource.keys
    for name, cloud in schema.CLOUDS.items():
        assert isinstance(cloud.kind, type)
        own = {key for key in cloud.kind.keys if name == "lambda" or key not in common}
        assert sources[name].keys() == own
        for key in own:
            described = cloud.kind.keys[key]
            assert sources[name][key] == described.default
            assert any(
                line.strip().startswith(f"{key}: ") and line.endswith(f"# {described.description}")
                for line in lines
            ), key


@pytest.mark.parametrize("path", EVERY_KEY)
def test_the_example_has_the_key_with_its_default_and_meaning(document: Any, path: str) -> None:
    key = EVERY_KEY[path]
    value, where = document, document.source
    for part in path.split("."):
        assert part in value, f"{path} is not in the example"
        where, value = value.where(part), value[part]
    line = EXAMPLE.read_text(encoding="utf-8").splitlines()[where.line - 1]
    assert line.partition(" # ")[2] == key.description
    is_leaf = path.startswith(("gateway.", "defaults.")) and not isinstance(value, dict)
    if is_leaf and path not in TELLING:
        assert value == key.default
