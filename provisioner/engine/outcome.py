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
NO_ITEMS = {
    "changed": False,
    "skipped": True,
    "skipped_reason": "No items in the list",
    "results": [],
}


@dataclass(eq=False)
class Group:
    """The items of one task, which is counted as one; `size` is how many there are.

    `broken`: one of them failed on the controller, of which the host knows nothing. `uncounted`: it
    is a part of something that is counted elsewhere.
    """

    number: int
    size: int = 1
    statuses: list[str] = field(default_factory=list)
    broken: bool = False
    changed: bool = False
    uncounted: bool = False

    @property
    def closed(self) -> bool:
        """Whether all items have ended."""
        return len(self.statuses) == self.size


@dataclass(eq=False)
class Outcome(Later):
    """One task or loop item under way or ended. `settle` waits until it has ended.

    `receive` makes the task's result of what the host answered.
    """

    task: Task
    scope: Scope
    settle: Callable[[Outcome], None]
    group: Group
    future: Future[Reply] | None = None
    item: str | None = None
    loop: dict[str, Any] = field(default_factory=dict)
    delegated_to: str | None = None
    receive: Callable[[dict[str, Any]], dict[str, Any]] = lambda result: result
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    status: str = ""

    @property
    def ready(self) -> bool:
        return bool(self.status)

    def end(self, result: dict[str, Any]) -> None:
        """Let it have ended with this result."""
        self.future = Future()
        self.future.set_result(Reply(result, 0.0))

    def value(self) -> dict[str, Any]:
        if not self.status:
            self.settle(self)
        return self.result


@dataclass(eq=False)
class LoopOutcome(Later):
    """All items of a loop, in Ansible's form."""

    outcomes: list[Outcome]

    @property
    def ready(self) -> bool:
        return all(outcome.ready for outcome in self.outcomes)

    def value(self) -> dict[str, Any]:
        results = []
        for outcome in self.outcomes:
            name = {"ansible_loop_var": outcome.task.loop_var}
            results.append({**outcome.value(), **outcome.loop, **name})
        failed = any(result.get("failed") for result in results)
        return {
            "results": results,
            "changed": any(result.get("changed") for result in results),
            "failed": failed,
            "skipped": all(result.get("skipped") for result in results),
            "msg": "One or more items failed" if failed else "All items completed",
        }


def overall(statuses: list[str]) -> str:
    """The status that counts for a task: of its only run, or of all items of its loop."""
    for status in ("failed", "rescued", "ignored", "changed", "ok"):
        if status in statuses:
            return status
    return "skipped"
