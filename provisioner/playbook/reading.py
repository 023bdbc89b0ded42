"""YAML files of playbooks and roles, as lists and mappings of the expected form."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Source
from provisioner.playbook.model import Role
from provisioner.yamlsource import MarkedDict, load_yaml

SUFFIXES = (".yaml", ".yml")


def mappings_in(path: Path, expectation: str) -> list[MarkedDict]:
    """The file's list of mappings, empty for an empty file. Raises BadInput with `expectation`."""
    content = load_yaml(path)
    if content is None:
        content = []
    if not isinstance(content, list):
        raise BadInput.of(expectation, Source(str(path), 1))
    for index, entry in enumerate(content):
        if not isinstance(entry, MarkedDict):
            raise BadInput.of(expectation, content.item_sources[index])  # type: ignore[attr-defined]
    return content


def variables_in(file: Path) -> dict[str, Any]:
    """The file's variables. Raises BadInput."""
    content = load_yaml(file)
    if content is not None and not isinstance(content, dict):
        raise BadInput.of("variables must be a mapping", Source(str(file), 1))
    return dict(content or {})


def list_in(mapping: MarkedDict, key: str) -> list[Any]:
    """The list under `key`, empty when there is none. Raises BadInput."""
    value = mapping.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        raise BadInput.of(f"{key} must be a list", mapping.where(key))
    return value


def yaml_file(directory: Path, name: str) -> Path | None:
    """`name` in `directory`, with or without its suffix."""
    for suffix in ("", *SUFFIXES):
        file = directory / f"{name}{suffix}"
        if file.is_file():
            return file
    return None


def role_variables(directory: Path, name: str = "main") -> dict[str, Any]:
    """A role's `vars` or `defaults`: of one file, or of all files of a folder. Raises BadInput."""
    file = yaml_file(directory, name)
    if file:
        return variables_in(file)
    merged: dict[str, Any] = {}
    for part in sorted((directory / name).glob("**/*")):
        if part.suffix in SUFFIXES and part.is_file():
            merged.update(variables_in(part))
    return merged


def vars_file(name: str, role: Role | None, search: Sequence[Path]) -> Path | None:
    """The file that `include_vars` names: of the role's `vars`, or in `search`."""
    own = [role.path / "vars"] if role else []
    folders = [*own, *(folder / "vars" for folder in search), *search]
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def enter(path: Path, stack: tuple[Path, ...]) -> tuple[Path, ...]:
    """`stack` with `path` on it. Raises BadInput when it is there already."""
    resolved = path.resolve()
    if resolved in stack:
        chain = " → ".join(step.name for step in [*stack[stack.index(resolved) :], resolved])
        raise BadInput.of(f"files include each other in a loop: {chain}", Source(str(path)))
    return (*stack, resolved)
