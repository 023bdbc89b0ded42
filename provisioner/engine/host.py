"""A host in a run: its variables and how it fares, over all plays."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from provisioner.engine.events import HostSummary
from provisioner.inventory import Host
from provisioner.playbook.model import Play, Task
from provisioner.playbook.scope import HostVars, Layer, Scope


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

    @property
    def alive(self) -> bool:
        """Whether later plays may go on with the host."""
        return self.summary.well

    def scope(self, play: Play, task: Task, loop: Mapping[str, Any]) -> Scope:
        """The variables of a task here; `loop` holds the loop's variables."""
        role = task.role
        layers = (role.params, role.vars, role.defaults) if role else ({}, {}, {})
        scope = self.vars.scope(play.vars, task.vars, layers, loop)
        if role is None:
            return scope
        magic = {"role_path": str(role.path), "role_name": role.name}
        return scope.over(Layer(magic, False))


class HostVarsView(Mapping[str, Any]):
    """Ansible's `hostvars`: what is known of every host, as plain values."""

    def __init__(self, hosts: Mapping[str, HostState]) -> None:
        self._hosts = hosts

    def __getitem__(self, name: str) -> Mapping[str, Any]:
        known = self._hosts[name].vars
        return {**known.settings, **known.facts, **known.results, **known.extra}

    def __iter__(self) -> Iterator[str]:
        return iter(self._hosts)

    def __len__(self) -> int:
        return len(self._hosts)
