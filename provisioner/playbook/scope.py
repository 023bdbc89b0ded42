"""The variables that a task sees on a host, by Ansible's precedence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Later(ABC):
    """A value that is still being made on a host, such as a registered result."""

    @abstractmethod
    def value(self) -> Any:
        """The value, when need be waited for."""


@dataclass(frozen=True)
class Layer:
    """One source of variables. Only a `trusted` one may hold templates: what a host sent is data,
    and must never be evaluated."""

    variables: Mapping[str, Any]
    trusted: bool


@dataclass(frozen=True)
class Scope:
    """Layers from the strongest to the weakest."""

    layers: tuple[Layer, ...]

    def find(self, name: str) -> tuple[Any, bool] | None:
        """The value of a variable, and whether it may hold templates; None when undefined."""
        for layer in self.layers:
            if name in layer.variables:
                value = layer.variables[name]
                if isinstance(value, Later):
                    return value.value(), False
                return value, layer.trusted
        return None

    def names(self) -> set[str]:
        """Every variable that is defined."""
        return {str(name) for layer in self.layers for name in layer.variables}

    def over(self, *layers: Layer) -> Scope:
        """This scope with stronger layers in front."""
        return Scope((*layers, *self.layers))


@dataclass
class HostVars:
    """What is known of one host during a run.

    `settings` come from the inventory; `facts` and `results` (set_fact, register) from the run.
    """

    name: str
    settings: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    magic: dict[str, Any] = field(default_factory=dict)

    def scope(
        self,
        play_vars: Mapping[str, Any],
        task_vars: Mapping[str, Any],
        role_layers: tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]],
        loop: Mapping[str, Any],
    ) -> Scope:
        """The scope of a task; `role_layers` are the role's params, vars and defaults."""
        params, role_vars, defaults = role_layers
        return Scope(
            (
                Layer(self.magic, False),
                Layer(self.extra, True),
                Layer(loop, False),
                Layer(self.results, False),
                Layer(params, True),
                Layer(task_vars, True),
                Layer(role_vars, True),
                Layer(play_vars, True),
                Layer(self.facts, False),
                Layer(self.settings, True),
                Layer(defaults, True),
            )
        )
