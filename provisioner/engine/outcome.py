"""What became of a task on a host; registered, it is awaited only by those who read it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from provisioner.playbook.model import Task
from provisioner.playbook.scope import Later, Scope
from provisioner.ssh.conversation import Reply

SKIPPED = {"changed": False, "skipped": True, "skip_reason": "Conditional result was False"}


@dataclass(eq=False)
class Group:
    """The items of one task, which is counted as one; `size` is their number."""

    size: int
    statuses: list[str] = field(default_factory=list)


@dataclass(eq=False)
class Outcome(Later):
    """One task or loop item under way or ended. `settle` waits until it has ended."""

    task: Task
    scope: Scope
    settle: Callable[[Outcome], None]
    group: Group
    future: Future[Reply] | None = None
    item: str | None = None
    loop: dict[str, Any] = field(default_factory=dict)
    delegated_to: str | None = None
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    status: str = ""

    def value(self) -> dict[str, Any]:
        if not self.status:
            self.settle(self)
        return self.result


@dataclass(eq=False)
class LoopOutcome(Later):
    """All items of a loop, in Ansible's form."""

    outcomes: list[Outcome]

    def value(self) -> dict[str, Any]:
        results = []
        for outcome in self.outcomes:
            name = {"ansible_loop_var": outcome.task.loop_var}
            results.append({**outcome.value(), **outcome.loop, **name})
        return {
            "results": results,
            "changed": any(result.get("changed") for result in results),
            "failed": any(result.get("failed") for result in results),
            "skipped": all(result.get("skipped") for result in results),
        }


def overall(statuses: list[str]) -> str:
    """The status that counts for a task: of its only run, or of all items of its loop."""
    for status in ("failed", "changed", "ignored", "ok"):
        if status in statuses:
            return status
    return "skipped"
