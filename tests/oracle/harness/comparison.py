"""What two runs of a playbook have left and told, and where they differ."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from harness.corpus import Expected
from harness.sides import COUNTS, Ran
from harness.state import State

PHASES = ("check", "real", "check again", "real again")


@dataclass(frozen=True)
class Step:
    """One phase of a playbook on one side: the run, and what each host is by then."""

    ran: Ran
    states: dict[str, State]


@dataclass(frozen=True)
class Difference:
    """What the two sides do not agree on."""

    phase: str
    host: str
    what: str
    ansible: str
    ours: str

    def fits(self, expected: Expected) -> bool:
        """Whether it is the difference that the key names."""
        return fnmatch.fnmatchcase(self.phase, expected.phase) and fnmatch.fnmatchcase(
            self.what, expected.what
        )

    def __str__(self) -> str:
        values = (("ansible-core", self.ansible), ("b9prov", self.ours))
        shown = "\n".join(f"    {side:<13}{_indented(value)}" for side, value in values)
        return f"{self.host}: {self.what}\n{shown}"


def differences(ansible: Sequence[Step], ours: Sequence[Step]) -> list[Difference]:
    """All of them, phase by phase."""
    return [
        difference
        for phase, theirs, own in zip(PHASES, ansible, ours, strict=True)
        for difference in (*_of_runs(phase, theirs.ran, own.ran), *_of_states(phase, theirs, own))
    ]


def _of_runs(phase: str, ansible: Ran, ours: Ran) -> Iterator[Difference]:
    if (ansible.code == 0) != (ours.code == 0):
        yield Difference(phase, "run", "exit", _exit(ansible), _exit(ours))
    for host in sorted(ansible.counts.keys() | ours.counts.keys()):
        theirs, own = (ran.counts.get(host, {}) for ran in (ansible, ours))
        for count in COUNTS:
            if theirs.get(count, 0) != own.get(count, 0):
                pair = (str(counts.get(count, 0)) for counts in (theirs, own))
                yield Difference(phase, host, f"count {count}", *pair)


def _of_states(phase: str, ansible: Step, ours: Step) -> Iterator[Difference]:
    for host in sorted(ansible.states.keys() | ours.states.keys()):
        theirs, own = (step.states.get(host, {}) for step in (ansible, ours))
        for what in sorted(theirs.keys() | own.keys()):
            if theirs.get(what) != own.get(what):
                pair = (state.get(what, "as before") for state in (theirs, own))
                yield Difference(phase, host, what, *pair)


def report(found: Sequence[Difference], ansible: Sequence[Step], ours: Sequence[Step]) -> str:
    """Differences for a reader, with the tasks of the first phase that has any."""
    phases: dict[str, list[str]] = {}
    for difference in found:
        phases.setdefault(str(difference), []).append(difference.phase)
    lines = [f"  {', '.join(each)}: {difference}" for difference, each in phases.items()]
    first = PHASES.index(found[0].phase)
    lines += [f"  tasks of {found[0].phase}:", *_tasks("ansible-core", ansible[first].ran)]
    return "\n".join([*lines, *_tasks("b9prov", ours[first].ran)])


def _tasks(side: str, ran: Ran) -> list[str]:
    lines = [f"    {side}, exit code {ran.code}"]
    for host, tasks in sorted(ran.tasks.items()):
        lines += [f"      {host} {task}" for task in tasks]
    return lines if ran.tasks else [*lines, f"      {_indented(ran.said[-1500:])}"]


def _exit(ran: Ran) -> str:
    if ran.code is None:
        return "hangs"
    return "well" if ran.code == 0 else f"failed ({ran.code})"


def _indented(text: str) -> str:
    """Shown below each other; of files, which end with a newline, one that does not says so."""
    if "\n" in text and not text.endswith("\n"):
        text += "\\ no newline"
    first, *more = text.splitlines() or [""]
    return "\n".join([first, *(" " * 17 + line for line in more)])
