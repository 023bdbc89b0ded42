"""The reference, made of the code: commands, inventory, modules, events."""

from __future__ import annotations

import ast
import json
import re
from collections import deque
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import provisioner.remote.modules
from provisioner.cli.described import described
from provisioner.cli.main import program
from provisioner.inventory import schema
from provisioner.inventory.fields import Check, Unfit
from provisioner.inventory.sections import ByName, Kind, ListOf, Section
from provisioner.playbook import modules
from provisioner.remote.arguments import Argument

_CAMEL = re.compile(r"(?<!^)(?=[A-Z])")


def pages() -> dict[str, str]:
    """The text of each page, by its name."""
    made = {
        "commands": commands(),
        "inventory": inventory(),
        "modules": task_modules(),
        "events": events(),
    }
    return {name: "\n".join(lines) + "\n" for name, lines in made.items()}


def commands() -> Iterator[str]:
    """Every command, with its options."""
    yield from ("# Commands", "", "As `b9prov COMMAND --help` shows them, and `b9prov man`.", "")
    for command in described(program, "b9prov"):
        level = "###" if command.name.count(" ") > 1 else "##"
        yield from (f"{level} {command.name}", "", f"```text\n{command.usage}\n```", "")
        for paragraph in command.paragraphs:
            yield from (_plain(paragraph), "")
        for option, meaning in command.options:
            yield from (f"`{option}`", f":   {_plain(meaning) or '…'}", "")


def inventory() -> Iterator[str]:
    """Every key of the inventory."""
    yield from (
        "# Inventory",
        "",
        "Every key, as `provisioner/inventory/schema.py` has them. Sections extend each other: a "
        "host may say all that `defaults` may. Secrets, and other values, may be references: "
        "`!env NAME`, `!file PATH`, `!command [PROGRAM, ARGUMENT]`. `b9prov schema inventory` "
        "prints this as JSON Schema, for editors ([how](../install.md#your-editor)).",
        "",
    )
    seen: set[type[Section]] = set()
    waiting: deque[tuple[str, type[Section]]] = deque([("", schema.Document)])
    while waiting:
        path, section = waiting.popleft()
        if section in seen:
            continue
        # what `defaults` has, groups and hosts have as well
        yield from _section(path.removeprefix("defaults.") or "The file", section, seen)
        for name, key in section.keys.items():
            waiting.extend(_inner(f"{path}.{name}".lstrip("."), key.kind))


def _inner(path: str, kind: Kind) -> list[tuple[str, type[Section]]]:
    """The section that a kind is, or has in it, and where it stands."""
    if isinstance(kind, ListOf):
        return _inner(f"{path}[]", kind.item)
    if isinstance(kind, ByName):
        return [(f"{path}.NAME", kind.section)]
    return [(path, kind)] if isinstance(kind, type) else []


def _section(title: str, section: type[Section], seen: set[type[Section]]) -> Iterator[str]:
    """A table of the keys that no section before it has."""
    before = [each for each in section.__mro__[1:] if each in seen and each is not Section]
    seen.add(section)
    yield from (f"## {title}", "")
    if section.__doc__:
        yield from (" ".join(section.__doc__.split()), "")
    known = {name for each in before for name in each.keys}
    if known:
        above = _TITLES.get(before[0])
        where = f"[{above}](#{above})" if above else "the sections above"
        yield from (f"All keys of {where}, and:", "")
    yield from ("| Key | Value | Default | Meaning |", "|---|---|---|---|")
    for name, key in section.keys.items():
        if name in known:
            continue
        default = "" if isinstance(key.kind, type) else f"`{json.dumps(key.default, default=str)}`"
        yield f"| `{name}` | {_value(key.kind)} | {default} | {_cell(key.description)} |"
    yield ""


_TITLES = {schema.Settings: "defaults"}


def _value(kind: Kind) -> str:
    """What a value is, in words."""
    if isinstance(kind, ListOf):
        return f"list of {_value(kind.item)}"
    if isinstance(kind, ByName):
        return "mapping of names"
    if isinstance(kind, type):
        return "mapping, see below"
    return _cell(_expected(kind))


def _expected(check: Check) -> str:
    """What a kind asks for, in its own words: those of its error."""
    try:
        check([[]])
    except Unfit as unfit:
        return unfit.message.removeprefix("expected ")
    return "anything"


def task_modules() -> Iterator[str]:
    """Every task module, with its arguments."""
    yield from (
        "# Modules",
        "",
        "What tasks may name, and each argument. [Playbooks](../playbooks.md) says what of "
        "Ansible's language is around them.",
        "",
    )
    for name in sorted(modules.names()):
        spec = modules.spec(name)
        yield from (f"## {name}", "", *_meaning(name))
        if spec.open:
            yield from ("Takes any argument.", "")
        if not spec.arguments:
            continue
        yield from ("| Argument | Type | Default | Also |", "|---|---|---|---|")
        for argument, each in spec.arguments.items():
            yield _argument(argument, each, argument == spec.free_form)
        yield ""


def _meaning(name: str) -> list[str]:
    """The docstring of a module's file; those of the controller have none."""
    if name in modules.CONTROLLER:
        return ["Carried out by the controller.", ""]
    path = Path(provisioner.remote.modules.__file__).with_name(f"{name}.py")
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return [_plain(text.partition("\n\n")[0]), ""]


def _argument(name: str, argument: Argument, is_free_form: bool) -> str:
    kind = argument.type
    if argument.choices:
        kind = ", ".join(f"`{choice}`" for choice in argument.choices)
    default = "**needed**" if argument.required else ""
    if argument.default is not None:
        default = f"`{json.dumps(argument.default)}`"
    also = [f"`{alias}`" for alias in argument.aliases]
    also += ["the text behind the module's name"] if is_free_form else []
    return f"| `{name}` | {kind} | {_cell(default)} | {', '.join(also)} |"


def events() -> Iterator[str]:
    """Every event of JSON output, with its fields."""
    text = (files("provisioner.report") / "events.schema.json").read_text("utf-8")
    described = json.loads(text)
    yield from ("# Events", "", _plain(described["description"]), "")
    yield from (
        "`b9prov schema events` prints the JSON Schema of a line; "
        "[JSON output](../json-output.md) has an example of each.",
        "",
    )
    for case in described["allOf"]:
        name = case["then"]["$ref"].rpartition("/")[2]
        event = described["definitions"][name]
        yield from (f"## {name}", "", f"{_plain(event['description'])}.", "")
        yield from ("| Field | Type | Meaning |", "|---|---|---|")
        for field, each in event["properties"].items():
            yield f"| `{field}` | {_type(each)} | {_cell(each.get('description', ''))} |"
        yield ""


def _type(field: dict[str, Any]) -> str:
    if "const" in field:
        return f"`{json.dumps(field['const'])}`"
    if "enum" in field:
        return ", ".join(f"`{each}`" for each in field["enum"])
    kind = field.get("type", "any")
    return " or ".join(kind) if isinstance(kind, list) else str(kind)


def _cell(text: str) -> str:
    return _plain(text).replace("|", r"\|")


def _plain(text: str) -> str:
    """Text of the code, on one line, none of which is HTML."""
    parts = " ".join(text.split()).split("`")
    outside = (part.replace("<", "&lt;").replace("*", r"\*") for part in parts[::2])
    inside = (f"`{part}`" for part in parts[1::2])
    return "".join(part for pair in zip(outside, [*inside, ""], strict=False) for part in pair)
