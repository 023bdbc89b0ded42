"""Runs playbooks through all phases on both sides, several at a time."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

from harness.comparison import PHASES, Step
from harness.corpus import Entry
from harness.hosts import PLACES
from harness.sides import GONE, Side
from harness.state import Observer, State, delta, folder_state

Results = dict[str, tuple["Future[list[Step]]", "Future[list[Step]]"]]


class Queue:
    """Playbooks that one kind of side has yet to run; its lanes help each other out."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._waiting = list(entries)
        self._lock = threading.Lock()
        self.outcomes: dict[str, Future[list[Step]]] = {each.name: Future() for each in entries}

    def next(self, hosts: int) -> Entry | None:
        """The next one for so many hosts: those that need many go first where there are many."""
        with self._lock:
            fitting = [entry for entry in self._waiting if entry.hosts <= hosts]
            if not fitting:
                return None
            chosen = max(fitting, key=lambda entry: entry.hosts)
            self._waiting.remove(chosen)
            return chosen


class Lane:
    """One side's program and hosts, working through a queue in a thread of its own."""

    def __init__(self, side: Side, queue: Queue, folder: Path, url: str) -> None:
        self.side, self.queue, self.folder, self.url = side, queue, folder, url
        self.observers = {name: Observer(inside) for name, inside in side.inside.items()}
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.stopped = threading.Event()

    def _work(self) -> None:
        while not self.stopped.is_set() and (entry := self.queue.next(len(self.side.hosts))):
            outcome = self.queue.outcomes[entry.name]
            try:
                outcome.set_result(self._through(entry))
            except BaseException as error:
                outcome.set_exception(error)

    def _through(self, entry: Entry) -> list[Step]:
        """All phases of one playbook."""
        names = [name for name in self.side.hosts if int(name[1:]) <= entry.hosts]
        place = f"{PLACES}/{entry.name}"
        for name in names:
            self.side.inside[name].make_place(place)
        folder = self.folder / entry.name
        playbook = entry.place(folder)
        extra = ["-e", f"place={place}", "-e", f"server={self.url}"]
        before = self._states(entry, names, folder)
        steps = []
        for phase in PHASES:
            ran = self.side.run(
                playbook,
                [*names, *[GONE] * entry.gone],
                [*extra, *entry.arguments],
                check=phase.startswith("check"),
            )
            after = self._states(entry, names, folder)
            changed = {name: delta(before[name], after[name]) for name in after}
            steps.append(Step(ran, changed))
        return steps

    def _states(self, entry: Entry, names: Sequence[str], folder: Path) -> dict[str, State]:
        states = {name: self.observers[name].state(entry.probes) for name in names}
        return {**states, "controller": folder_state(folder)}
