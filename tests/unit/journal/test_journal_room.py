"""The journal's place in the house."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

PACKAGE = Path(__file__).parents[3] / "provisioner"
ALLOWED = (
    "journal",
    "engine.events",
    "errors",
    "operator",
    "paths",
    "remote",
    "secrets",
    "wholefile",
)
USERS = ("cli", "journal")


def imports(file: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module))
    return found


def test_it_knows_only_the_events() -> None:
    names = {name for file in (PACKAGE / "journal").glob("*.py") for name in imports(file)}
    ours = tuple(f"provisioner.{each}" for each in ALLOWED)
    strange = {n for n in names if n.partition(".")[0] not in sys.stdlib_module_names}
    assert {name for name in strange if not name.startswith(ours)} == set()


def test_only_commands_use_it() -> None:
    users = {
        file.relative_to(PACKAGE).parts[0]
        for file in PACKAGE.rglob("*.py")
        if any(name.startswith("provisioner.journal") for name in imports(file))
    }
    assert users == set(USERS)
