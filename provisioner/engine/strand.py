"""One host's way through one play: operations are sent ahead, results are taken in order."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from provisioner.engine import actions
from provisioner.engine.events import Sink, TaskFinished, TaskProgress, TaskStarted
from provisioner.engine.host import HostState
from provisioner.engine.judge import (
    fail,
    failure,
    judge,
    reason,
    register_secrets,
    shown,
    with_result,
)
from provisioner.engine.outcome import (
    NO_ITEMS,
    SKIPPED,
    Group,
    LoopOutcome,
    Outcome,
    overall,
)
from provisioner.engine.tags import TagFilter
from provisioner.inventory import Host
from provisioner.playbook.model import Gate, Play, Task
from provisioner.playbook.modules import is_template
from provisioner.playbook.scope import Later, Scope
from provisioner.playbook.templating import Templar, TemplateFailed, without_omitted
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.conversation import Conversation, Dropped, Operation, Reply, Unsendable
from provisioner.ssh.pool import Pool

_sequences = itertools.count()


class Stopped(Exception):
    """The host can't go on: a task failed, or the run was interrupted."""


@dataclass(frozen=True)
class Setting:
    """What all strands of a play share."""

    play: Play
    pool: Pool
    templar_for: Callable[[Task | None], Templar]
    find_host: Callable[[str], Host]
    emit: Sink
    tags: TagFilter
    check: bool
    diff: bool
    interrupted: threading.Event


class Strand:
    """Runs in one thread. `Stopped` and `Unreachable` come out of `run`."""

    def __init__(self, setting: Setting, host: HostState) -> None:
        self.setting, self.host = setting, host
        self.play = setting.play
        self.pending: deque[Outcome] = deque()
        self.notified: set[str] = set()
        self.used: Conversation | None = None
        self._sequence = next(_sequences)
        self._groups = itertools.count()
        self._gates: dict[Gate, bool] = {}

    def run(self) -> None:
        """All tasks, then the handlers that were notified."""
        try:
            for task in self.play.tasks:
                if self.setting.tags.selects(task.tags):
                    self._task(task)
            self._flush_handlers()
        except BaseException:
            self._abandon()
            raise

    def _flush_handlers(self) -> None:
        self._settle_all()
        done: set[Task] = set()  # one that another handler notifies again is not run again
        while due := [handler for handler in self._notified() if handler not in done]:
            for handler in due:
                done.add(handler)
                self._task(handler)
            self._settle_all()
        self.notified.clear()

    def _notified(self) -> list[Task]:
        """The handlers that were notified, in the play's order; of one name the last counts."""
        last = {name: handler for handler in self.play.handlers for name in handler.names}
        by_name = {handler for name, handler in last.items() if name in self.notified}
        return [
            handler
            for handler in self.play.handlers
            if handler in by_name or self.notified.intersection(handler.listen)
        ]

    def _task(self, task: Task) -> None:
        if self.setting.interrupted.is_set():
            raise Stopped
        self._settle_ready()
        if task.module == "meta":
            self._flush_handlers()
            return
        scope = self.host.scope(self.play, task, {})
        group = Group(next(self._groups))
        if not self._is_let_in(task, scope, group):
            return
        loops = task.loop is not None
        registered = self._loop(task, scope, group) if loops else self._start(task, scope, group)
        if task.register:
            self.host.vars.results[task.register] = registered
        # a failure that the host can't see by itself must not be followed by more
        if group.broken or task.failed_when or task.until is not None or task.delegate_to:
            self._settle_all()

    def _is_let_in(self, task: Task, scope: Scope, group: Group) -> bool:
        """Whether the conditions of the includes around the task held when they were reached."""
        outcome = Outcome(task, scope, self._settle_until, group)
        for gate in task.gates:
            if gate not in self._gates:
                try:
                    self._gates[gate] = self._templar(task).all(gate.conditions, scope)
                except TemplateFailed as error:
                    self._end_here(outcome, failure(error))
                    self._settle_all()
                    return False
            if not self._gates[gate]:
                self._end_here(outcome, dict(SKIPPED))
                return False
        return True

    def _loop(self, task: Task, scope: Scope, group: Group) -> Later:
        outcome = Outcome(task, scope, self._settle_until, group)
        try:
            items = self._items(task, scope)
        except TemplateFailed as error:
            # a task that is skipped as a whole may loop over something undefined
            skipped = task.when and not self._holds(task, scope)
            self._end_here(outcome, dict(SKIPPED) if skipped else failure(error))
            return outcome
        if not items:
            self._end_here(outcome, dict(NO_ITEMS))
            return outcome
        group.size = len(items)
        return LoopOutcome([self._item(task, item, group) for item in items])

    def _item(self, task: Task, item: Any, group: Group) -> Outcome:
        loop = {task.loop_var: item}
        return self._start(task, self.host.scope(self.play, task, loop), group, loop)

    def _items(self, task: Task, scope: Scope) -> list[Any]:
        items = self._templar(task).value(task.loop, scope)
        if task.flatten:
            items = items if isinstance(items, (list, tuple)) else [items]
            parts = [part if isinstance(part, (list, tuple)) else [part] for part in items]
            return list(itertools.chain.from_iterable(parts))
        if not isinstance(items, (list, tuple)):
            raise TemplateFailed(f"loop needs a list, not {type(items).__name__}")
        return list(items)

    def _holds(self, task: Task, scope: Scope) -> bool:
        try:
            return self._templar(task).all(task.when, scope)
        except TemplateFailed:
            return True

    def _start(
        self, task: Task, scope: Scope, group: Group, loop: dict[str, Any] | None = None
    ) -> Outcome:
        """Evaluate and send one task or loop item; or end it here when no host is needed."""
        templar = self._templar(task)
        task = replace(task, name=_if_possible(task.name, templar, scope))
        outcome = Outcome(task, scope, self._settle_until, group, loop=loop or {})
        try:
            if loop:
                outcome.item = _label(task, templar, scope, loop)
            if not templar.all(task.when, scope):
                self._end_here(outcome, dict(SKIPPED))
            elif task.module in actions.LOCAL:
                self._local(outcome, templar)
            elif task.until is not None:
                self._until(outcome, templar)
            else:
                self._send(outcome, templar)
                self.pending.append(outcome)
        except (TemplateFailed, actions.ActionFailed, Unsendable) as error:
            self._end_here(outcome, failure(error))
        return outcome

    def _local(self, outcome: Outcome, templar: Templar) -> None:
        task = outcome.task
        raw = {k: v for k, v in task.arguments.items() if (task.module, k) != ("assert", "that")}
        arguments = templar.value(raw, outcome.scope)
        result = actions.local(task, arguments, templar, outcome.scope)
        self.host.vars.results.update(result.get("ansible_facts", {}))
        self._end_here(outcome, result)

    def _end_here(self, outcome: Outcome, result: dict[str, Any]) -> None:
        outcome.future = Future()
        outcome.future.set_result(Reply(result, 0.0))
        self.pending.append(outcome)
        outcome.group.broken |= bool(result.get("failed"))

    def _send(self, outcome: Outcome, templar: Templar) -> None:
        task, scope = outcome.task, outcome.scope
        arguments = templar.value(task.arguments, scope)
        call = actions.call(task, self.play, arguments, templar, scope)
        conversation, exclusive = self._conversation(outcome, templar)
        operation = Operation(
            module=call.module,
            arguments=call.arguments,
            check=self.setting.check if task.check_mode is None else task.check_mode,
            diff=self.setting.diff,
            sequence=self._sequence,
            group=outcome.group.number,
            keep_going=task.ignore_errors or bool(task.failed_when) or task.until is not None,
            exclusive=exclusive,
            environment=self._environment(task, scope, templar),
            blobs=call.blobs,
            on_start=lambda: self.setting.emit(
                TaskStarted(self.host.name, task.name, task.module, str(task.where))
            ),
            on_progress=lambda done, total, label: self.setting.emit(
                TaskProgress(self.host.name, task.name, done, total, label)
            ),
        )
        outcome.future = conversation.submit(operation)

    def _environment(self, task: Task, scope: Scope, templar: Templar) -> dict[str, str]:
        merged = templar.value({**self.play.environment, **task.environment}, scope)
        return {name: str(value) for name, value in without_omitted(merged).items()}

    def _conversation(self, outcome: Outcome, templar: Templar) -> tuple[Conversation, bool]:
        """Where the task runs, and whether it needs the host's lock for itself."""
        task = outcome.task
        become = self.play.become if task.become is None else task.become
        wanted = (task.become_user or self.play.become_user) if become else None
        user = None if wanted is None else str(templar.value(wanted, outcome.scope))
        target = self.host.target
        if task.delegate_to:
            outcome.delegated_to = str(templar.value(task.delegate_to, outcome.scope))
            target = self.setting.find_host(outcome.delegated_to)
        try:
            conversation = self.setting.pool.conversation(target, user)
        except Unreachable as error:
            raise _placed(error, outcome) from None
        if self.used is not None and conversation is not self.used:
            self._settle_all()
        self.used = conversation
        return conversation, user == "root" and target.name in self.setting.pool.shared

    def _until(self, outcome: Outcome, templar: Templar) -> None:
        """Try again, `retries` times at the most, until the condition holds."""
        task = outcome.task
        self._settle_all()
        for attempt in range(task.retries + 1):
            self._send(outcome, templar)
            self._take(outcome)
            outcome.result["attempts"] = attempt + 1
            if self._is_satisfied(outcome, templar):
                break
            if attempt < task.retries and self.setting.interrupted.wait(task.delay):
                raise Stopped
        else:
            outcome.result.setdefault("msg", f"not so after {task.retries} retries: {task.until}")
            fail(outcome, attempts=task.retries)
        self.pending.append(outcome)

    def _is_satisfied(self, outcome: Outcome, templar: Templar) -> bool:
        if not outcome.task.until:
            return not outcome.result["failed"]
        # what the condition reads may not be there yet either
        try:
            return templar.all(outcome.task.until, with_result(outcome))
        except TemplateFailed:
            return False

    def _settle_ready(self) -> None:
        """Take the results that have come in, in order."""
        while self.pending and (future := self.pending[0].future) and future.done():
            self._finish(self.pending.popleft())

    def _settle_until(self, outcome: Outcome) -> None:
        while not outcome.status and self.pending:
            self._finish(self.pending.popleft())

    def _settle_all(self) -> None:
        while self.pending:
            self._finish(self.pending.popleft())

    def _take(self, outcome: Outcome) -> None:
        """Wait for the result and judge it."""
        assert outcome.future
        try:
            reply = outcome.future.result()
        except Dropped:
            raise Stopped from None
        except Unreachable as error:
            raise _placed(error, outcome) from None
        outcome.result, outcome.seconds = dict(reply.result), reply.seconds
        judge(outcome, self._templar(outcome.task))

    def _finish(self, outcome: Outcome) -> None:
        """Wait for the result, tell of it; a failure stops the host once all items have ended."""
        if not outcome.status:
            self._take(outcome)
        register_secrets(outcome)
        if outcome.status == "changed":
            self._notify(outcome)
        self._tell(outcome)
        summary = self.host.summary
        if outcome.status == "failed" and not summary.reason:
            summary.reason = f"{outcome.task.name}: {reason(outcome)}"
            summary.advice = str(outcome.result.get("advice", ""))
        self._count(outcome)

    def _notify(self, outcome: Outcome) -> None:
        known = {name for h in self.play.handlers for name in (*h.names, *h.listen)}
        try:
            names = self._templar(outcome.task).value(list(outcome.task.notify), outcome.scope)
        except TemplateFailed as error:
            return fail(outcome, msg=f"notify: {error}")
        unknown = [str(name) for name in names if str(name) not in known]
        if unknown:
            return fail(outcome, msg=f"notify: there is no handler {unknown[0]!r}")
        self.notified.update(map(str, names))

    def _tell(self, outcome: Outcome) -> None:
        task = outcome.task
        self.setting.emit(
            TaskFinished(
                host=self.host.name,
                play=self.play.name,
                task=task.name,
                module=task.module,
                where=str(task.where),
                status=outcome.status,
                seconds=outcome.seconds,
                result=shown(outcome),
                item=None if task.no_log else outcome.item,
                delegated_to=outcome.delegated_to,
            )
        )

    def _count(self, outcome: Outcome) -> None:
        """Count the task once all its items have ended."""
        group = outcome.group
        group.statuses.append(outcome.status)
        if not group.closed:
            return
        status = overall(group.statuses)
        name = {"ignored": "ok"}.get(status, status)
        setattr(self.host.summary, name, getattr(self.host.summary, name) + 1)
        if status == "failed":
            raise Stopped

    def _abandon(self) -> None:
        """After a failure: let the host drop what was sent ahead."""
        for outcome in self.pending:
            if outcome.future is not None:
                outcome.future.exception()
        self.pending.clear()

    def _templar(self, task: Task | None) -> Templar:
        return self.setting.templar_for(task)


def _label(task: Task, templar: Templar, scope: Scope, loop: dict[str, Any]) -> str:
    if task.loop_label is None:
        return str(loop[task.loop_var])
    return _if_possible(task.loop_label, templar, scope)


def _if_possible(text: str, templar: Templar, scope: Scope) -> str:
    """A name or label, evaluated where that is possible."""
    if not is_template(text):
        return text
    try:
        return str(templar.value(text, scope))
    except TemplateFailed:
        return text


def _placed(error: Unreachable, outcome: Outcome) -> Unreachable:
    """The error, naming the host when it is not the task's own."""
    if outcome.delegated_to is None:
        return error
    return Unreachable(f"{outcome.delegated_to}: {error.reason}", error.advice)
