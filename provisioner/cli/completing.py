"""Hosts and groups that a shell completes, read from the inventory alone: nothing is resolved."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import CompletionItem


def complete_hosts(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """The names of hosts and groups that fit the last part of a pattern such as `gpu,!w`."""
    before = incomplete[: len(incomplete) - len(incomplete.rpartition(",")[2])]
    begun = incomplete[len(before) :]
    sign = "!" if begun.startswith("!") else ""
    return [
        CompletionItem(before + sign + name, help=kind)
        for name, kind in _names(context).items()
        if name.startswith(begun.removeprefix("!"))
    ]


def _names(context: click.Context) -> dict[str, str]:
    # imported here: all commands have this module, and few are completed
    from provisioner.errors import BadInput
    from provisioner.paths import DEFAULT_INVENTORY
    from provisioner.yamlsource import load_yaml

    unresolved = dict.fromkeys(("!env", "!file", "!command"), lambda value, where: "")
    try:
        data = load_yaml(context.params.get("inventory") or DEFAULT_INVENTORY, unresolved)
    except (BadInput, OSError):
        return {}
    sections = {kind: data.get(f"{kind}s") for kind in ("group", "host")} if data else {}
    return {
        str(name): kind
        for kind, names in sections.items()
        if isinstance(names, Mapping)
        for name in names
    }
