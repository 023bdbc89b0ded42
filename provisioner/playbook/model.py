"""Playbooks as values: plays of steps, which are tasks, blocks and includes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from provisioner.errors import Source

Flag: TypeAlias = bool | str
"""Yes or no, or an expression for it."""


@dataclass(frozen=True)
class Role:
    """A role in use: its directory and variables. `params` are those given where it is used."""

    name: str
    path: Path
    defaults: dict[str, Any] = field(default_factory=dict)
    vars: dict[str, Any] = field(default_factory=dict)
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Task:
    """One task or handler. Expressions are kept as written and evaluated per host.

    `delay` is in seconds. `become` None means: as the play says. `until` is () for a task that is
    retried until it succeeds, None for one that is not retried. `flatten`: lists within the loop's
    list are opened up. `diff` None means: as the run says. `environment` are mappings, or
    expressions for them, of which a later one is stronger. A flag may be an expression, too.
    """

    name: str
    module: str
    arguments: dict[str, Any]
    where: Source
    when: tuple[Any, ...] = ()
    loop: Any = None
    flatten: bool = False
    loop_var: str = "item"
    loop_label: str | None = None
    index_var: str | None = None
    extended: bool = False
    pause: float = 0.0
    register: str | None = None
    notify: tuple[str, ...] = ()
    listen: tuple[str, ...] = ()
    tags: frozenset[str] = frozenset()
    become: Flag | None = None
    become_user: str | None = None
    vars: dict[str, Any] = field(default_factory=dict)
    environment: tuple[Any, ...] = ()
    delegate_to: str | None = None
    retries: int = 3
    delay: float = 5.0
    until: tuple[Any, ...] | None = None
    changed_when: tuple[Any, ...] | None = None
    failed_when: tuple[Any, ...] | None = None
    ignore_errors: Flag = False
    no_log: Flag = False
    check_mode: Flag | None = None
    diff: Flag | None = None
    run_once: bool = False
    role: Role | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What a handler may be notified by, topics aside."""
        return (self.name, f"{self.role.name} : {self.name}") if self.role else (self.name,)


@dataclass(frozen=True, eq=False)
class Block:
    """Steps of which the first failure leads to `rescue`; `always` comes whatever happened."""

    steps: tuple[Step, ...]
    rescue: tuple[Step, ...]
    always: tuple[Step, ...]


@dataclass(frozen=True)
class Included:
    """What an include brings in; `label` is told to the user."""

    label: str
    steps: tuple[Step, ...]
    handlers: tuple[Task, ...] = ()


@dataclass(frozen=True, eq=False)
class Include:
    """Steps of a file or role that are chosen, and repeated, on the way through the play.

    `task` is the include itself, as a task; `inside` is what those that it brings in see of it: its
    own `vars`, loop and conditions, which are stronger than theirs. `fixed` is
    what it brings in where that is known beforehand; else `load` reads it, by the evaluated
    arguments, and raises BadInput.
    """

    task: Task
    inside: Task
    load: Callable[[Mapping[str, Any]], Included]
    fixed: Included | None = None


Step: TypeAlias = "Task | Block | Include"


def walk(steps: Iterable[Step], around: tuple[Task, ...] = ()) -> Iterator[Reached]:
    """All tasks and includes, at any depth, as far as they are known beforehand."""
    for step in steps:
        if isinstance(step, Task):
            yield Reached(step, around)
        elif isinstance(step, Block):
            yield from walk((*step.steps, *step.rescue, *step.always), around)
        else:
            yield Reached(step.task, around)
            if step.fixed:
                yield from walk(step.fixed.steps, (*around, step.inside))


@dataclass(frozen=True)
class Reached:
    """A task, or an include as such, and the includes by which one gets there, outermost first."""

    task: Task
    around: tuple[Task, ...] = ()


@dataclass(frozen=True, eq=False)
class Play:
    """Steps for the hosts that `hosts` selects. Files are looked up from `directory`.

    `role_vars` and `role_defaults` are those of all its roles, which every task of it sees.
    `serial` are the sizes of batches, as numbers of hosts or percentages; `max_fail_percentage` is
    that of failed hosts beyond which a batch is given up, None for no bound. `vars_files` are those
    whose names are expressions; what the others hold is among `vars`.
    """

    name: str
    hosts: str
    where: Source
    directory: Path
    steps: tuple[Step, ...] = ()
    handlers: tuple[Task, ...] = ()
    vars: dict[str, Any] = field(default_factory=dict)
    role_vars: dict[str, Any] = field(default_factory=dict)
    role_defaults: dict[str, Any] = field(default_factory=dict)
    environment: tuple[Any, ...] = ()
    become: bool = False
    become_user: str = "root"
    vars_files: tuple[str, ...] = ()
    serial: tuple[int | str, ...] = ()
    max_fail_percentage: float | None = None
    any_errors_fatal: bool = False

    @property
    def reached(self) -> Iterator[Reached]:
        """Its tasks, includes and handlers, as far as they are known beforehand."""
        yield from walk(self.steps)
        yield from map(Reached, self.handlers)

    @property
    def tasks(self) -> tuple[Task, ...]:
        """Those of `reached`, by themselves."""
        return tuple(reached.task for reached in self.reached)


@dataclass(frozen=True)
class Playbook:
    """All plays of a file and of those that it imports, in order."""

    path: Path
    plays: tuple[Play, ...]
