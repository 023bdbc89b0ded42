"""Playbooks as values: plays of tasks, with everything static already resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.errors import Source


@dataclass(frozen=True)
class Role:
    """A role in use: its directory and variables. `params` are those given where it is used."""

    name: str
    path: Path
    defaults: dict[str, Any] = field(default_factory=dict)
    vars: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Gate:
    """The conditions of an include, evaluated once for all that it brings in."""

    conditions: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Task:
    """One task or handler. Expressions are kept as written and evaluated per host.

    `delay` is in seconds. `become` None means: as the play says. `until` is () for a task that is
    retried until it succeeds, None for one that is not retried. `flatten`: lists within the loop's
    list are opened up. `include_vars` are those given where a file of tasks was included.
    """

    name: str
    module: str
    arguments: dict[str, Any]
    where: Source
    when: tuple[Any, ...] = ()
    gates: tuple[Gate, ...] = ()
    loop: Any = None
    flatten: bool = False
    loop_var: str = "item"
    loop_label: str | None = None
    register: str | None = None
    notify: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    become: bool | None = None
    become_user: str | None = None
    vars: dict[str, Any] = field(default_factory=dict)
    include_vars: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    delegate_to: str | None = None
    retries: int = 3
    delay: float = 5.0
    until: tuple[Any, ...] | None = None
    changed_when: tuple[Any, ...] | None = None
    failed_when: tuple[Any, ...] | None = None
    ignore_errors: bool = False
    no_log: bool = False
    check_mode: bool | None = None
    role: Role | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a handler may be notified by, topics aside."""
        return (self.name, f"{self.role.name} : {self.name}") if self.role else (self.name,)


@dataclass(frozen=True, eq=False)
class Play:
    """Tasks for the hosts that `hosts` selects. Files are looked up from `directory`.

    `role_vars` and `role_defaults` are those of all its roles, which every task of it sees.
    """

    name: str
    hosts: str
    where: Source
    directory: Path
    tasks: tuple[Task, ...] = ()
    handlers: tuple[Task, ...] = ()
    vars: dict[str, Any] = field(default_factory=dict)
    role_vars: dict[str, Any] = field(default_factory=dict)
    role_defaults: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    become: bool = False
    become_user: str = "root"
    gather_facts: bool = True


@dataclass(frozen=True)
class Playbook:
    """All plays of a file and of those that it imports, in order."""

    path: Path
    plays: tuple[Play, ...]
