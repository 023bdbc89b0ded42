"""The variables that a task sees on a host, by Ansible's precedence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


class Later(ABC):
    """A value that is still being made on a host, such as a registered result."""

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether `value` returns at once, in any thread."""

    @abstractmethod
    def value(self) -> Any:
        """The value, when need be waited for; by the thread that makes it."""


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

    def is_ready(self, name: str) -> bool:
        """Whether a variable is defined and need not be waited for."""
        for layer in self.layers:
            if name in layer.variables:
                value = layer.variables[name]
                return not isinstance(value, Later) or value.ready
        return False

    def names(self) -> set[str]:
        """Every variable that is defined."""
        return {str(name) for layer in self.layers for name in layer.variables}

    def over(self, *layers: Layer) -> Scope:
        """This scope with stronger layers in front."""
        return Scope((*layers, *self.layers))


@dataclass
class HostVars:
    """What is known of one host during a run.

    `settings` come from the inventory; `facts`, `results` (set_fact, register), `files`
    (include_vars) and `play_files` (the play's vars_files) from the run.
    """

    name: str
    settings: Mapping[str, Any]
    extra: Mapping[str, Any] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    play_files: dict[str, Any] = field(default_factory=dict)
    magic: dict[str, Any] = field(default_factory=dict)

    def scope(
        self,
        loop: Mapping[str, Any],
        included: Mapping[str, Any],
        written: Sequence[Mapping[str, Any]],
        defaults: Sequence[Mapping[str, Any]],
    ) -> Scope:
        """The scope of a task, as things are now.

        `included` are an include's variables; `written` those of task, roles and play, and
        `defaults` those of roles, the strongest first.
        """
        return Scope(
            (
                Layer(self.magic, False),
                Layer(loop, False),
                Layer(self.extra, True),
                Layer(included, True),
                # later tasks set facts while earlier ones are still to be judged
                Layer(dict(self.results), False),
                Layer(self.files, True),
                *(Layer(variables, True) for variables in written),
                Layer(self.facts, False),
                Layer(self.settings, True),
                *(Layer(variables, True) for variables in defaults),
            )
        )
