"""Roles: their folder, variables and dependencies."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.errors import BadInput, Source
from provisioner.playbook.model import Role
from provisioner.playbook.reading import role_variables, variables_in, yaml_file
from provisioner.yamlsource import MarkedDict

ROLE_OPTIONS = frozenset({"name", "tasks_from", "vars_from", "defaults_from", "handlers_from"})
# Ansible's, which would add to the language or to what may run.
FOREIGN = (
    "library",
    "module_utils",
    "filter_plugins",
    "lookup_plugins",
    "action_plugins",
    "test_plugins",
)


def role_at(
    path: Path,
    name: str,
    params: dict[str, Any],
    vars_from: str = "main",
    defaults_from: str = "main",
) -> Role:
    """The role in the folder `path`. Raises BadInput."""
    for folder in FOREIGN:
        if (path / folder).is_dir():
            raise BadInput.of(
                f"role {name} brings Python of its own, which is not supported",
                Source(str(path / folder)),
                "a module is one file in provisioner/remote/modules",
            )
    return Role(
        name,
        path,
        defaults=role_variables(path / "defaults", defaults_from),
        vars=role_variables(path / "vars", vars_from),
        params=params,
    )


def may_repeat(role: Role) -> bool:
    """Whether the role runs as often as it is listed. Raises BadInput."""
    meta = yaml_file(role.path / "meta", "main")
    return bool(meta and variables_in(meta).get("allow_duplicates"))


def dependencies_of(role: Role) -> list[Any]:
    """The uses of other roles that `meta/main.yaml` lists. Raises BadInput."""
    meta = yaml_file(role.path / "meta", "main")
    content = variables_in(meta) if meta else {}
    dependencies = content.get("dependencies") or []
    where = Source(str(meta))
    if "argument_specs" in content or yaml_file(role.path / "meta", "argument_specs"):
        raise BadInput.of(f"argument_specs of role {role.name} are not supported", where)
    if not isinstance(dependencies, list):
        raise BadInput.of("dependencies must be a list", where)
    return dependencies


def tasks_file_of(role: Role, name: str | None, use: MarkedDict) -> Path | None:
    """The file of the role's tasks, which is missed only when it was named. Raises BadInput."""
    file = yaml_file(role.path / "tasks", name or "main")
    if file is None and name:
        raise BadInput.of(f"role {role.name} has no tasks {name!r}", use.source)
    return file
