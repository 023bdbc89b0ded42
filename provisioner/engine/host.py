"""A host in a run: its variables and how it fares, over all plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.engine.events import HostSummary
from provisioner.inventory import Host
from provisioner.playbook.model import Play, Task
from provisioner.playbook.scope import HostVars, Later, Layer, Scope
from provisioner.playbook.templating import Templar


@dataclass
class HostState:
    """Written by one strand at a time."""

    target: Host
    vars: HostVars
    summary: HostSummary = field(default_factory=HostSummary)
    finished: bool = True

    @property
    def name(self) -> str:
        return self.target.name

    def learn(self, facts: Mapping[str, Any]) -> None:
        """Facts that a task brought, under their own names and in `ansible_facts`."""
        short = {name.removeprefix("ansible_"): value for name, value in facts.items()}
        together = {**self.vars.facts.get("ansible_facts", {}), **short}
        self.vars.facts = {**self.vars.facts, **facts, "ansible_facts": together}

    @property
    def alive(self) -> bool:
        """Whether later plays may go on with the host."""
        return self.summary.well

    def left(self, name: str) -> Any:
        """What a playbook left in a variable of the host once it has ended; None for nothing."""
        found = self.vars.results.get(name)
        return found.value() if isinstance(found, Later) else found

    def scope(
        self, play: Play, task: Task, loop: Mapping[str, Any], around: Sequence[Task] = ()
    ) -> Scope:
        """The variables of a task here; `loop` holds the loop's variables, `around` the includes
        around it, outermost first."""
        role = task.role
        own = (role.params, role.vars) if role else ()
        scope = self.vars.scope(
            loop,
            {name: value for include in around for name, value in include.vars.items()},
            (task.vars, *own, play.role_vars, self.vars.play_files, play.vars),
            (role.defaults, play.role_defaults) if role else (play.role_defaults,),
        )
        if role is None:
            return scope
        magic = {"role_path": str(role.path), "role_name": role.name}
        return scope.over(Layer(magic, False))


class HostVarsView(Mapping[str, Any]):
    """Ansible's `hostvars`, as the strand of host `viewer` sees it.

    Of other hosts it shows what they have ended; it doesn't wait for what they are still at.
    """

    def __init__(self, hosts: Mapping[str, HostState], viewer: str, templar: Templar) -> None:
        self._hosts, self._viewer, self._templar = hosts, viewer, templar

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        known = self._hosts[name].vars
        return _Variables(known, self._templar, may_wait=name == self._viewer)

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)


class _Variables(Mapping[str, Any]):
    """One host's variables, evaluated when they are read."""

    def __init__(self, known: HostVars, templar: Templar, may_wait: bool) -> None:
        self._scope = known.scope({}, {}, (), ())
        self._templar, self._may_wait = templar, may_wait

    def __getitem__(self, name: str) -> Any:
        found = self._scope.find(name) if self._may_wait or self._scope.is_ready(name) else None
        if found is None:
            raise KeyError(name)
        value, trusted = found
        return self._templar.value(value, self._scope) if trusted else value

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    def _names(self) -> set[str]:
        names = self._scope.names()
        return {name for name in names if self._may_wait or self._scope.is_ready(name)}
