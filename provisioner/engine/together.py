"""What the hosts of a batch have to know of each other: who goes first, and when all must stop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.playbook.model import Play

POLL = 0.5  # seconds after which who waits for others looks whether the run was interrupted


class CutOff(Exception):
    """The host stops where it is, though nothing failed on it; the text says why.

    It has none when the play was ended on purpose.
    """


@dataclass
class Shared:
    """What a `run_once` task left: variables for every host, and whether it failed."""

    variables: dict[str, Any] = field(default_factory=dict)
    failed: bool = False


class Together:
    """The hosts of one batch of a play, by name, in the play's order.

    Where one host's failure may stop the others, all wait for each other before each task, as they
    do with Ansible; else each goes at its own pace.
    """

    def __init__(self, play: Play, names: Sequence[str], interrupted: threading.Event) -> None:
        self._play, self._order = play, list(names)
        self._present = set(names)
        self._failed: list[str] = []
        self._arrived: set[str] = set()
        self._generation = 0
        self._end: str | None = None  # why all stop
        self._shared: dict[Hashable, Shared] = {}
        self._change = threading.Condition()
        self._interrupted = interrupted
        self.in_step = _is_in_step(play) and len(self._order) > 1

    @property
    def failed(self) -> tuple[str, ...]:
        """The hosts that failed so far."""
        return tuple(self._failed)

    def arrive(self, name: str) -> None:
        """Wait for the others before the next task. Raises CutOff when all have to stop."""
        if not self.in_step:
            return
        with self._change:
            generation = self._generation
            self._arrived.add(name)
            self._go_on()
            self._wait(lambda: self._generation != generation)
            if self._end is not None:
                raise CutOff(self._end)

    def leave(self, name: str, failed: bool) -> None:
        """The host is through with the play, well or not."""
        with self._change:
            self._present.discard(name)
            self._arrived.discard(name)
            if failed:
                self._failed.append(name)
            self._go_on()
            self._change.notify_all()

    def end(self) -> None:
        """Have all hosts end the play before their next task."""
        with self._change:
            self._end = ""

    def turn(self, name: str, key: Hashable) -> Shared | None:
        """Whether the host is the one to run a `run_once` task: None; else what the task left."""
        with self._change:
            self._wait(lambda: key in self._shared or self._is_first(name))
            return self._shared.get(key)

    def share(self, key: Hashable, shared: Shared) -> None:
        """Tell the others what a `run_once` task left."""
        with self._change:
            self._shared[key] = shared
            self._change.notify_all()

    def _is_first(self, name: str) -> bool:
        return next((each for each in self._order if each in self._present), name) == name

    def _go_on(self) -> None:
        """Start the next round once all who are left have arrived."""
        if not self._arrived or self._arrived < self._present:
            return
        if self._end is None:
            self._end = self._too_many()
        self._arrived.clear()
        self._generation += 1
        self._change.notify_all()

    def _too_many(self) -> str | None:
        if not self._failed:
            return None
        if self._play.any_errors_fatal:
            return f"stopped, since {self._failed[0]} failed (any_errors_fatal)"
        bound = self._play.max_fail_percentage
        share = 100 * len(self._failed) / len(self._order)
        if bound is not None and share > bound:
            return f"stopped, since {share:.0f} % of the hosts failed (max_fail_percentage)"
        return None

    def _wait(self, ready: Callable[[], bool]) -> None:
        while not self._change.wait_for(ready, POLL):
            if self._interrupted.is_set():
                raise CutOff("interrupted")


def _is_in_step(play: Play) -> bool:
    ends_all = any(
        task.module == "meta" and task.arguments.get("action") in ("end_play", "end_batch")
        for task in play.tasks
    )
    return play.any_errors_fatal or play.max_fail_percentage is not None or ends_all


def batches(sizes: Sequence[int | str], hosts: Sequence[Any]) -> list[list[Any]]:
    """The hosts in batches of these sizes (`serial`), of which the last one is repeated."""
    rest = list(hosts)
    result: list[list[Any]] = []
    numbers = [_size(size, len(hosts)) for size in sizes] or [max(1, len(hosts))]
    while rest:
        size = numbers[min(len(result), len(numbers) - 1)]
        result.append(rest[:size])
        rest = rest[size:]
    return result


def _size(size: int | str, hosts: int) -> int:
    text = str(size)
    number = int(text.removesuffix("%"))
    return max(1, hosts * number // 100) if text.endswith("%") else number
