"""One host's way through one play: operations are sent ahead, results are taken in order."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any

from provisioner import secrets
from provisioner.engine import actions
from provisioner.engine.events import Sink, TaskFinished, TaskProgress, TaskStarted
from provisioner.engine.host import HostState
from provisioner.engine.outcome import SKIPPED, Group, LoopOutcome, Outcome, overall
from provisioner.engine.tags import TagFilter
from provisioner.inventory import Host
from provisioner.playbook.model import Play, Task
from provisioner.playbook.modules import is_template
from provisioner.playbook.scope import Later, Layer, Scope
from provisioner.playbook.templating import Templar, TemplateFailed
from provisioner.ssh.conversation import Conversation, Dropped, Operation, Reply
from provisioner.ssh.pool import Pool

_HIDDEN = "the output is hidden, since no_log is set"


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

    def run(self) -> None:
        """All tasks, then the handlers that were notified."""
        try:
            for task in self.play.tasks:
                if self.setting.tags.selects(task.tags):
                    self._task(task)
            self._settle_all()
            self._handlers()
        except BaseException:
            self._abandon()
            raise

    def _handlers(self) -> None:
        done: set[str] = set()
        while True:
            due = [h for h in self.play.handlers if self._is_notified(h) and h.name not in done]
            if not due:
                return
            for handler in due:
                done.add(handler.name)
                self._task(handler)
            self._settle_all()

    def _is_notified(self, handler: Task) -> bool:
        return bool(self.notified & {handler.name, *handler.listen})

    def _task(self, task: Task) -> None:
        if self.setting.interrupted.is_set():
            raise Stopped
        self._settle_ready()
        scope = self.host.scope(self.play, task, {})
        registered: Later
        if task.loop is None:
            registered = self._start(task, scope, Group(1))
        else:
            items = self._items(task, scope)
            group = Group(len(items))
            registered = LoopOutcome([self._item(task, item, group) for item in items])
            if not items:
                self._count("skipped")
        if task.register:
            self.host.vars.results[task.register] = registered
        if task.failed_when or task.until or task.delegate_to:
            self._settle_all()

    def _item(self, task: Task, item: Any, group: Group) -> Outcome:
        loop = {task.loop_var: item}
        return self._start(task, self.host.scope(self.play, task, loop), group, loop)

    def _items(self, task: Task, scope: Scope) -> list[Any]:
        try:
            items = self._templar(task).value(task.loop, scope)
            if not isinstance(items, (list, tuple)):
                raise TemplateFailed(f"loop needs a list, not {type(items).__name__}")
            return list(items)
        except TemplateFailed as error:
            # a task that is skipped as a whole may loop over something undefined
            if task.when and not self._holds(task, scope):
                return []
            self._end_here(Outcome(task, scope, self._settle_until, Group(1)), _failure(error))
            raise Stopped from None

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
        task = replace(task, name=_named(task, templar, scope))
        outcome = Outcome(task, scope, self._settle_until, group, loop=loop or {})
        try:
            if loop:
                outcome.item = self._label(task, scope, loop)
            if not templar.all(task.when, scope):
                self._end_here(outcome, dict(SKIPPED))
            elif task.module in actions.LOCAL:
                self._local(outcome, templar)
            elif task.until:
                self._until(outcome, templar)
            else:
                self._send(outcome, templar)
                self.pending.append(outcome)
        except (TemplateFailed, actions.ActionFailed) as error:
            self._end_here(outcome, _failure(error))
        return outcome

    def _label(self, task: Task, scope: Scope, loop: dict[str, Any]) -> str:
        if task.loop_label:
            return str(self._templar(task).value(task.loop_label, scope))
        return str(loop[task.loop_var])

    def _local(self, outcome: Outcome, templar: Templar) -> None:
        task = outcome.task
        if task.module != "set_fact":
            self._settle_all()  # what it says or asserts comes after what it follows
        raw = {k: v for k, v in task.arguments.items() if (task.module, k) != ("assert", "that")}
        arguments = templar.value(raw, outcome.scope)
        result = actions.local(task, arguments, templar, outcome.scope)
        self.host.vars.results.update(result.get("ansible_facts", {}))
        self._end_here(outcome, result)

    def _end_here(self, outcome: Outcome, result: dict[str, Any]) -> None:
        outcome.future = Future()
        outcome.future.set_result(Reply(result, 0.0))
        self.pending.append(outcome)
        if result.get("failed"):
            self._settle_all()

    def _send(self, outcome: Outcome, templar: Templar) -> None:
        task, scope = outcome.task, outcome.scope
        arguments = templar.value(task.arguments, scope)
        arguments = {key: value for key, value in arguments.items() if value != "__omit__"}
        call = actions.call(task, self.play, arguments, templar, scope)
        conversation, exclusive = self._conversation(outcome, scope)
        operation = Operation(
            module=call.module,
            arguments=call.arguments,
            check=self.setting.check if task.check_mode is None else task.check_mode,
            diff=self.setting.diff,
            keep_going=self._keeps_going(task),
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

    def _keeps_going(self, task: Task) -> bool:
        # a shared conversation must not drop other hosts' operations after ours failed
        tolerant = task.ignore_errors or task.failed_when is not None or bool(task.until)
        return tolerant or task.delegate_to is not None

    def _environment(self, task: Task, scope: Scope, templar: Templar) -> dict[str, str]:
        merged = {**self.play.environment, **task.environment}
        return {name: str(value) for name, value in templar.value(merged, scope).items()}

    def _conversation(self, outcome: Outcome, scope: Scope) -> tuple[Conversation, bool]:
        """Where the task runs, and whether it needs the host's lock for itself."""
        task = outcome.task
        become = self.play.become if task.become is None else task.become
        user = (task.become_user or self.play.become_user) if become else None
        target = self.host.target
        if task.delegate_to:
            outcome.delegated_to = str(self._templar(task).value(task.delegate_to, scope))
            target = self.setting.find_host(outcome.delegated_to)
            self._settle_all()
        conversation = self.setting.pool.conversation(target, user)
        if self.used is not None and conversation is not self.used:
            self._settle_all()
        self.used = conversation
        return conversation, target.name in self.setting.pool.shared

    def _until(self, outcome: Outcome, templar: Templar) -> None:
        """Try again, `retries` times at the most, until the condition holds."""
        task = outcome.task
        self._settle_all()
        for attempt in range(task.retries + 1):
            self._send(outcome, templar)
            assert outcome.future
            reply = outcome.future.result()
            result = {**reply.result, "attempts": attempt + 1}
            if self._holds_yet(task, self._with_result(outcome, result)):
                break
            if attempt < task.retries and self.setting.interrupted.wait(task.delay):
                raise Stopped
        else:
            result["failed"] = True
            result.setdefault("msg", f"the condition did not hold after {task.retries} retries")
        outcome.future = Future()
        outcome.future.set_result(Reply(result, reply.seconds))
        self.pending.append(outcome)

    def _holds_yet(self, task: Task, scope: Scope) -> bool:
        # what the condition reads may not be there yet either
        try:
            return self._templar(task).all(task.until, scope)
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

    def _finish(self, outcome: Outcome) -> None:
        """Wait for the result, judge it, tell of it; a failure stops the host."""
        assert outcome.future
        try:
            reply = outcome.future.result()
        except Dropped:
            raise Stopped from None
        outcome.result, outcome.seconds = dict(reply.result), reply.seconds
        self._judge(outcome)
        if outcome.task.no_log:
            _register_leaves(outcome.result)
        for name in outcome.result.get("_secrets", ()):
            secrets.register(str(outcome.result[name]))
        if outcome.status == "changed":
            self.notified.update(self._notify_names(outcome))
        self._tell(outcome)
        self._close_group(outcome)
        if outcome.status == "failed":
            self.host.summary.reason = f"{outcome.task.name}: {_reason(outcome)}"
            self.host.summary.advice = str(outcome.result.get("advice", ""))
            raise Stopped

    def _notify_names(self, outcome: Outcome) -> list[str]:
        names = self._templar(outcome.task).value(list(outcome.task.notify), outcome.scope)
        return [str(name) for name in names]

    def _judge(self, outcome: Outcome) -> None:
        """Set the status by the result, `changed_when` and `failed_when`."""
        task, result = outcome.task, outcome.result
        if result.get("skipped"):
            outcome.status = "skipped"
            return
        scope = self._with_result(outcome, result)
        templar = self._templar(task)
        try:
            if task.changed_when is not None:
                result["changed"] = templar.all(task.changed_when, scope)
            if task.failed_when is not None:
                result["failed"] = templar.all(task.failed_when, scope)
        except TemplateFailed as error:
            result.update(_failure(error))
        if result.get("failed"):
            outcome.status = "ignored" if task.ignore_errors else "failed"
        else:
            outcome.status = "changed" if result.get("changed") else "ok"

    def _with_result(self, outcome: Outcome, result: dict[str, Any]) -> Scope:
        if not outcome.task.register:
            return outcome.scope
        return outcome.scope.over(Layer({outcome.task.register: result}, False))

    def _tell(self, outcome: Outcome) -> None:
        task = outcome.task
        shown = {key: value for key, value in outcome.result.items() if key != "_secrets"}
        if task.no_log:
            kept = ("changed", "advice")
            shown = {"censored": _HIDDEN, **{k: v for k, v in shown.items() if k in kept}}
        self.setting.emit(
            TaskFinished(
                host=self.host.name,
                play=self.play.name,
                task=task.name,
                module=task.module,
                where=str(task.where),
                status=outcome.status,
                seconds=outcome.seconds,
                result=shown,
                item=None if task.no_log and outcome.item else outcome.item,
                delegated_to=outcome.delegated_to,
            )
        )

    def _close_group(self, outcome: Outcome) -> None:
        """Count the task once all its items have ended, or one has failed."""
        group = outcome.group
        group.statuses.append(outcome.status)
        if len(group.statuses) == group.size or outcome.status == "failed":
            self._count(overall(group.statuses))

    def _count(self, status: str) -> None:
        summary = self.host.summary
        name = {"ignored": "ok"}.get(status, status)
        setattr(summary, name, getattr(summary, name) + 1)

    def _abandon(self) -> None:
        """After a failure: let the host drop what was sent ahead, then open it for later plays."""
        for outcome in self.pending:
            if outcome.future is not None:
                outcome.future.exception()
        self.pending.clear()
        if self.used is not None:
            self.used.proceed()

    def _templar(self, task: Task | None) -> Templar:
        return self.setting.templar_for(task)


def _named(task: Task, templar: Templar, scope: Scope) -> str:
    """The task's name, evaluated where that is possible."""
    if not is_template(task.name):
        return task.name
    try:
        return str(templar.value(task.name, scope))
    except TemplateFailed:
        return task.name


def _failure(error: Exception) -> dict[str, Any]:
    return {"changed": False, "failed": True, "msg": str(error)}


def _reason(outcome: Outcome) -> str:
    return _HIDDEN if outcome.task.no_log else str(outcome.result.get("msg", "failed"))


def _register_leaves(value: Any) -> None:
    """What a `no_log` task brought is secret wherever it turns up again.

    Short words, sentences and paths are no secrets: masking them would shred what is shown.
    """
    if isinstance(value, dict):
        for item in value.values():
            _register_leaves(item)
    elif isinstance(value, list):
        for item in value:
            _register_leaves(item)
    elif isinstance(value, str) and len(value) >= 16 and not re.search(r"\s|^/", value):
        secrets.register(value)
