"""The outcomes of one host's tasks, taken in the order in which the tasks were begun."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from provisioner.engine.actions import LOCAL
from provisioner.engine.events import TaskFinished
from provisioner.engine.host import HostState
from provisioner.engine.judge import fail, judge, reason, register_secrets, shown
from provisioner.engine.outcome import Outcome, overall
from provisioner.engine.resume import HostMemory
from provisioner.engine.setting import Failed, Setting, Stopped
from provisioner.playbook.model import Task
from provisioner.playbook.templating import TemplateFailed
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.conversation import Dropped


class Ledger:
    """Waits for results, judges, counts and tells them; `notified` are the names of handlers.

    `handlers` are those of the play; includes add theirs. `rescuers` counts the blocks around that
    would rescue a failure.
    """

    def __init__(self, setting: Setting, host: HostState, memory: HostMemory | None = None) -> None:
        self.setting, self.host, self.memory = setting, host, memory
        self.handlers: list[Task] = list(setting.play.handlers)
        self.notified: set[str] = set()
        self.rescuers = 0
        self._pending: deque[Outcome] = deque()

    def add(self, outcome: Outcome) -> None:
        """One more outcome, under way or ended."""
        self._pending.append(outcome)

    def settle_ready(self) -> None:
        """Take the results that have come in, in order. Raises Stopped, Unreachable."""
        while self._pending and (future := self._pending[0].future) and future.done():
            self._finish(self._pending.popleft())

    def settle_until(self, outcome: Outcome) -> None:
        """Take results up to this one. Raises Stopped, Unreachable."""
        while not outcome.status and self._pending:
            self._finish(self._pending.popleft())

    def settle_all(self) -> None:
        """Wait for all results. Raises Stopped, Unreachable."""
        while self._pending:
            self._finish(self._pending.popleft())

    def abandon(self) -> None:
        """After a failure: let the host drop what was sent ahead."""
        for outcome in self._pending:
            if outcome.future is not None:
                outcome.future.exception()
        self._pending.clear()

    def take(self, outcome: Outcome) -> None:
        """Wait for the result and judge it. Raises Stopped, Unreachable."""
        assert outcome.future
        try:
            reply = outcome.future.result()
        except Dropped:
            raise Stopped from None
        except Unreachable as error:
            raise placed(error, outcome) from None
        outcome.result, outcome.seconds = outcome.receive(dict(reply.result)), reply.seconds
        judge(outcome, self.setting.templar_for(outcome.task))

    def due_handlers(self, done: Sequence[Task]) -> list[Task]:
        """The handlers that were notified and are not done; of one name the last counts."""
        last = {name: handler for handler in self.handlers for name in handler.names}
        due = {handler for name, handler in last.items() if name in self.notified}
        listening = [h for h in self.handlers if self.notified.intersection(h.listen)]
        # those without a name are called as their module
        due |= set({h.name: h for h in listening if h.name != h.module}.values())
        due |= {h for h in listening if h.name == h.module}
        return [handler for handler in self.handlers if handler in due and handler not in done]

    def _finish(self, outcome: Outcome) -> None:
        """Wait for the result, tell of it; a failure stops the host once all items have ended."""
        if not outcome.status:
            self.take(outcome)
        register_secrets(outcome)
        if outcome.task.module not in LOCAL and "ansible_facts" in outcome.result:
            self.host.learn(outcome.result["ansible_facts"])
        if outcome.status == "changed":
            self._notify(outcome)
        if outcome.status == "failed" and self.rescuers:
            outcome.status = "rescued"
        if self.memory:
            play = self.setting.play.name
            self.notified |= self.memory.ended(outcome, self.handlers, play)
        self._tell(outcome)
        summary = self.host.summary
        if outcome.status == "failed" and not summary.reason:
            summary.reason = f"{outcome.task.name}: {reason(outcome)}"
            summary.advice = str(outcome.result.get("advice", ""))
        self._count(outcome)

    def _notify(self, outcome: Outcome) -> None:
        known = {name for h in self.handlers for name in (*h.names, *h.listen)}
        templar = self.setting.templar_for(outcome.task)
        try:
            names = templar.value(list(outcome.task.notify), outcome.scope)
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
                play=self.setting.play.name,
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
        group.changed |= bool(outcome.result.get("changed"))
        if not group.closed:
            return
        status = overall(group.statuses)
        if not group.uncounted:
            self.host.summary.count(status, group.changed)
        if status in ("failed", "rescued"):
            raise Failed(outcome.task.name, outcome.result)


def placed(error: Unreachable, outcome: Outcome) -> Unreachable:
    """The error, naming the host when it is not the task's own."""
    if outcome.delegated_to is None:
        return error
    return Unreachable(f"{outcome.delegated_to}: {error.reason}", error.advice)
