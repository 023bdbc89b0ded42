"""`b9prov schema`."""

from __future__ import annotations

import json
from importlib.resources import files

import click


@click.group()
def schema() -> None:
    """Print the JSON Schema of what b9prov reads and writes."""


@schema.command()
def events() -> None:
    """What `--output json` writes: the schema of a line."""
    click.echo((files("provisioner.report") / "events.schema.json").read_text("utf-8"), nl=False)


@schema.command()
def inventory() -> None:
    """What an inventory may say, for editors."""
    from provisioner.inventory.jsonschema import inventory_schema

    click.echo(json.dumps(inventory_schema(), indent=2, ensure_ascii=False))
