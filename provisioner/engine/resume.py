"""Going on where an earlier run left off: what was proven done there is not done again.

A task is proven done on a host when it ended well there and the host was asked for the very same:
the same task for the same item, the same module, arguments, content and environment, all values
filled in. So what now depends on other facts or results is done again. Of all this only digests
are kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from provisioner.engine import actions
from provisioner.engine.host import HostState
from provisioner.engine.outcome import Outcome
from provisioner.playbook.model import Task
from provisioner.playbook.modules import is_template
from provisioner.ssh.conversation import Operation

# They change nothing: a look from before is no look.
LOOKS = actions.FACTS | {
    *("fetch", "find", "nvidia_check", "ping", "preflight", "slurp", "stat", "wait_for"),
}

Line = dict[str, Any]

_ENCODER = json.JSONEncoder(sort_keys=True, default=str)


@dataclass
class Earlier:
    """What run `id` has done on one host, by digest: at which line of its notes, how it ended."""

    id: str
    machine: str = ""
    done: dict[str, tuple[int, str]] = field(default_factory=dict)
    handled: dict[str, int] = field(default_factory=dict)


class Memory:
    """Of one run: `note` keeps what it does, `lines` are the notes of run `earlier`.

    Digests are made with `key`; the notes of an earlier run need that run's.
    """

    def __init__(
        self,
        note: Callable[[Line], None],
        key: bytes,
        earlier: str = "",
        earlier_key: bytes = b"",
        lines: Iterable[Line] = (),
    ) -> None:
        self.note, self.key = note, key
        self.earlier_key = earlier_key
        self._earlier = _by_host(earlier, lines)
        self._hosts: dict[str, HostMemory] = {}

    def of(self, host: HostState) -> HostMemory:
        """That of a host, for all its plays."""
        if host.name not in self._hosts:
            self._hosts[host.name] = HostMemory(self, host, self._earlier.get(host.name))
        return self._hosts[host.name]


class HostMemory:
    """Used by one strand at a time."""

    def __init__(self, memory: Memory, host: HostState, earlier: Earlier | None) -> None:
        self._memory, self._host = memory, host
        machine = str(host.vars.facts.get("ansible_machine_id") or "")
        # what was done on another machine of that name is not done here
        self._earlier = earlier if earlier and machine and earlier.machine == machine else None
        self._turns: Counter[tuple[str, ...]] = Counter()
        self._asked: dict[Outcome, tuple[Line, tuple[int, str] | None]] = {}
        if machine:
            memory.note({"host": host.name, "machine": machine})

    def ask(
        self, outcome: Outcome, operation: Operation, handlers: Sequence[Task], play: str
    ) -> dict[str, Any] | None:
        """Called before an operation is sent: the result that spares it, if it is done already."""
        if outcome in self._asked or not _may_be_left_out(outcome.task, operation, handlers):
            return None
        task = outcome.task
        place = (play, _where(task), task.name, str(outcome.item))
        self._turns[place] += 1
        what = [*place, self._turns[place], operation.module, operation.arguments]
        text = _ENCODER.encode([*what, operation.environment])
        known = self._earlier and self._earlier.done.get(_digest(self._memory.earlier_key, text))
        self._asked[outcome] = {"done": _digest(self._memory.key, text)}, known or None
        if not known or not self._earlier:
            return None
        reason = f"done in run {self._earlier.id}"
        return {"changed": False, "skipped": True, "skip_reason": reason}

    def ended(self, outcome: Outcome, handlers: Sequence[Task], play: str) -> set[str]:
        """Note how it ended; the names of handlers still to be run for what was done before."""
        if _is_handler(outcome.task, handlers):
            if _is_last_and_well(outcome):
                self._note({"handled": self._handler(self._memory.key, outcome.task, play)})
            return set()
        line, known = self._asked.pop(outcome, ({}, None))
        owed: set[str] = set()
        status = outcome.status
        if known:
            owed = self._owed(outcome, known, handlers, play)
            status = "changed" if owed else "ok"
        if line and status in ("ok", "changed") and not _brought_values(outcome):
            self._note({**line, "status": status})
        return owed

    def _owed(
        self, outcome: Outcome, known: tuple[int, str], handlers: Sequence[Task], play: str
    ) -> set[str]:
        """Which of the handlers that it notified did not end well after it."""
        at, status = known
        assert self._earlier
        if status != "changed" or not outcome.task.notify:
            return set()
        names = set(outcome.task.notify)
        key = self._memory.earlier_key
        return {
            name
            for handler in handlers
            for name in names.intersection((*handler.names, *handler.listen))
            if self._earlier.handled.get(self._handler(key, handler, play), -1) < at
        }

    def _handler(self, key: bytes, handler: Task, play: str) -> str:
        return _digest(key, json.dumps([play, _where(handler)]))

    def _note(self, line: Line) -> None:
        self._memory.note({"host": self._host.name, **line})


def _may_be_left_out(task: Task, operation: Operation, handlers: Sequence[Task]) -> bool:
    """Whether nothing but the task's own effect on its host would be missing without it."""
    return not (
        operation.check
        or task.no_log
        or task.register
        or task.delegate_to
        or is_template(list(task.notify))
        or task.module in LOOKS
        or task.changed_when == (False,)  # it only looks, too
        or (task.module == "uri" and str(task.arguments.get("method", "GET")).upper() == "GET")
        or _is_handler(task, handlers)
    )


def _where(task: Task) -> str:
    return f"{_absolute(task.where.file)}:{task.where.line}"


_absolute = functools.lru_cache(maxsize=256)(os.path.abspath)


def _is_handler(task: Task, handlers: Sequence[Task]) -> bool:
    # by its place, since it is a copy with its name filled in
    return any(handler.where == task.where for handler in handlers)


def _is_last_and_well(outcome: Outcome) -> bool:
    """Whether it is the last item to end, and all ended well. It is itself not yet counted."""
    statuses = [*outcome.group.statuses, outcome.status]
    return len(statuses) == outcome.group.size and not {"failed", "rescued"} & set(statuses)


def _brought_values(outcome: Outcome) -> bool:
    """Whether later tasks, or the masking of secrets, need its result."""
    return "ansible_facts" in outcome.result or "_secrets" in outcome.result


def _by_host(earlier: str, lines: Iterable[Mapping[str, Any]]) -> dict[str, Earlier]:
    hosts: dict[str, Earlier] = {}
    for number, line in enumerate(lines):
        host = hosts.setdefault(str(line.get("host")), Earlier(earlier))
        if "machine" in line:
            host.machine = str(line["machine"])
        elif "done" in line:
            host.done[str(line["done"])] = number, str(line.get("status"))
        elif "handled" in line:
            host.handled[str(line["handled"])] = number
    return hosts


def _digest(key: bytes, text: str) -> str:
    return hashlib.blake2b(text.encode(), key=key, digest_size=16).hexdigest()
