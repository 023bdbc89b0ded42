"""Sends a task's operation to the host that runs it."""

from __future__ import annotations

import itertools
from typing import Any

from provisioner.engine import actions
from provisioner.engine.events import TaskProgress, TaskStarted
from provisioner.engine.host import HostState
from provisioner.engine.ledger import Ledger, placed
from provisioner.engine.outcome import Outcome
from provisioner.engine.resume import HostMemory
from provisioner.engine.setting import Setting
from provisioner.playbook.model import Task
from provisioner.playbook.scope import Scope
from provisioner.playbook.templating import Templar, TemplateFailed, without_omitted
from provisioner.ssh.connect import Target, Unreachable
from provisioner.ssh.conversation import Conversation, Operation

_sequences = itertools.count()


class Dispatcher:
    """One per strand: what it sends after a failure belongs to a new sequence.

    What `memory` knows to be done is not sent.
    """

    def __init__(
        self,
        setting: Setting,
        host: HostState,
        ledger: Ledger,
        memory: HostMemory | None = None,
    ) -> None:
        self.setting, self.host, self.ledger = setting, host, ledger
        # where other controllers work, too, what was done may be undone
        self._memory = None if host.name in setting.pool.shared else memory
        self._used: Conversation | None = None
        self._sequence = next(_sequences)

    def begin_anew(self) -> None:
        """Have the host carry out again what is sent to it, after a failure."""
        self._sequence = next(_sequences)

    def send(self, outcome: Outcome, templar: Templar) -> None:
        """Have the task run. Raises TemplateFailed, ActionFailed, Unsendable, Unreachable."""
        task, scope = outcome.task, outcome.scope
        arguments = templar.value(task.arguments, scope)
        call = actions.call(task, self.setting.play, arguments, templar, scope)
        conversation, exclusive = self._conversation(outcome, templar)
        operation = Operation(
            module=call.module,
            arguments=call.arguments,
            check=self.setting.check if task.check_mode is None else bool(task.check_mode),
            diff=self.setting.diff if task.diff is None else bool(task.diff),
            sequence=self._sequence,
            group=outcome.group.number,
            keep_going=bool(task.ignore_errors) or bool(task.failed_when) or task.until is not None,
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
        known = self._known_result(outcome, operation)
        if known is not None:
            return outcome.end(known)
        outcome.receive = call.receive
        outcome.future = conversation.submit(operation)

    def _known_result(self, outcome: Outcome, operation: Operation) -> dict[str, Any] | None:
        """The result of an operation that an earlier run has proven done."""
        if self._memory is None:
            return None
        return self._memory.ask(outcome, operation, self.ledger.handlers, self.setting.play.name)

    def place(self, outcome: Outcome, templar: Templar) -> tuple[Target, str | None]:
        """The host and the user that the task runs as; the login user is None."""
        task, play = outcome.task, self.setting.play
        become = play.become if task.become is None else task.become
        wanted = (task.become_user or play.become_user) if become else None
        user = None if wanted is None else str(templar.value(wanted, outcome.scope))
        if not task.delegate_to:
            return self.host.target, user
        outcome.delegated_to = str(templar.value(task.delegate_to, outcome.scope))
        return self.setting.find_host(outcome.delegated_to), user

    def _conversation(self, outcome: Outcome, templar: Templar) -> tuple[Conversation, bool]:
        """Where the task runs, and whether it needs the host's lock for itself."""
        target, user = self.place(outcome, templar)
        try:
            lend = target.name != self.host.name
            conversation = self.setting.pool.conversation(target, user, lend)
        except Unreachable as error:
            raise placed(error, outcome) from None
        if self._used is not None and conversation is not self._used:
            self.ledger.settle_all()
        self._used = conversation
        return conversation, user == "root" and target.name in self.setting.pool.shared

    def _environment(self, task: Task, scope: Scope, templar: Templar) -> dict[str, str]:
        merged: dict[str, str] = {}
        for layer in (*self.setting.play.environment, *task.environment):
            value = templar.value(layer, scope)
            if not isinstance(value, dict):
                raise TemplateFailed(f"environment is {type(value).__name__}, not a mapping")
            merged |= {name: str(each) for name, each in without_omitted(value).items()}
        return merged
