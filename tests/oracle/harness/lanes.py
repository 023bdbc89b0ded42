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
from harness.state import Observer, State, folder_state

Results = dict[str, tuple["Future[list[Step]]", "Future[list[Step]]"]]


def shared_out(entries: Sequence[Entry], sizes: Sequence[int]) -> list[list[Entry]]:
    """The playbooks of each lane, which has so many hosts; always the same for the same playbooks,
    so that the hosts of both sides have the same past."""
    lanes: list[list[Entry]] = [[] for _ in sizes]
    for entry in sorted(entries, key=lambda entry: (-entry.hosts, entry.name)):
        fitting = [lane for lane, size in zip(lanes, sizes, strict=True) if size >= entry.hosts]
        min(fitting, key=_work).append(entry)
    return [sorted(lane, key=lambda entry: entry.name) for lane in lanes]


def _work(entries: Sequence[Entry]) -> int:
    return sum(1 + entry.hosts for entry in entries)


class Lane:
    """One side's program and hosts, working through its playbooks in a thread of its own."""

    def __init__(self, side: Side, entries: Sequence[Entry], folder: Path, url: str) -> None:
        self.side, self.entries, self.folder, self.url = side, entries, folder, url
        self.outcomes: dict[str, Future[list[Step]]] = {each.name: Future() for each in entries}
        self.observers = {name: Observer(inside) for name, inside in side.inside.items()}
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.stopped = threading.Event()

    def _work(self) -> None:
        for entry in self.entries:
            if self.stopped.is_set():
                return
            outcome = self.outcomes[entry.name]
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
        before = self._states(entry, names)
        steps = []
        for phase in PHASES:
            ran = self.side.run(
                playbook,
                [*names, *[GONE] * entry.gone],
                [*extra, *entry.arguments],
                check=phase.startswith("check"),
            )
            after = self._states(entry, names)
            changed = {n: self.observers[n].delta(before[n], after[n]) for n in names}
            steps.append(Step(ran, {**changed, "controller": folder_state(folder)}))
        return steps

    def _states(self, entry: Entry, names: Sequence[str]) -> dict[str, State]:
        return {name: self.observers[name].state(entry.probes) for name in names}
