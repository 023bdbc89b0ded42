"""One host's way through one play: operations are sent ahead, results are taken in order."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from provisioner.engine import actions, links, meta
from provisioner.engine.dispatch import Dispatcher
from provisioner.engine.evaluate import if_possible, label, loop_variables, with_flags
from provisioner.engine.host import HostState
from provisioner.engine.judge import fail, failure, with_result
from provisioner.engine.ledger import Ledger
from provisioner.engine.outcome import NO_ITEMS, SKIPPED, Group, LoopOutcome, Outcome
from provisioner.engine.resume import HostMemory
from provisioner.engine.setting import Failed, Setting, Stopped
from provisioner.engine.together import CutOff, Shared
from provisioner.errors import BadInput, Source
from provisioner.playbook.model import Block, Include, Step, Task
from provisioner.playbook.reading import variables_in
from provisioner.playbook.scope import Later, Scope
from provisioner.playbook.templating import Templar, TemplateFailed
from provisioner.ssh.conversation import Unsendable

# what the play itself reads is told as if a task did it
NO_TASK = Task("", "vars_files", {}, Source(""))


@dataclass(frozen=True)
class Around:
    """The includes around a task, outermost first, and their loops' variables."""

    includes: tuple[Task, ...] = ()
    loop: dict[str, Any] = field(default_factory=dict)


class Strand:
    """Runs in one thread. `Stopped`, `CutOff` and `Unreachable` come out of `run`."""

    def __init__(self, setting: Setting, host: HostState, memory: HostMemory | None = None) -> None:
        self.setting, self.host = setting, host
        self.play = setting.play
        self.ledger = Ledger(setting, host, memory)
        self.dispatcher = Dispatcher(setting, host, self.ledger, memory)
        self._groups = itertools.count()
        self._occurrences: Counter[Task] = Counter()

    def run(self) -> None:
        """All steps, then the handlers that were notified."""
        try:
            self._read_vars_files()
            self._steps(self.play.steps, Around())
            self._flush_handlers()
        except meta.EndHost:
            self.ledger.settle_all()
        except BaseException:
            self.ledger.abandon()
            raise

    def _read_vars_files(self) -> None:
        """The play's files of variables whose names depend on the host."""
        self.host.vars.play_files = {}
        for name in self.play.vars_files:
            where = replace(NO_TASK, name=f"vars_files: {name}", where=self.play.where)
            scope = self.host.scope(self.play, where, {})
            try:
                file = str(self._templar(where).value(name, scope))
                self.host.vars.play_files |= variables_in(self.play.directory / file)
            except (TemplateFailed, BadInput) as error:
                outcome = Outcome(where, scope, self.ledger.settle_until, self._group())
                self._end_here(outcome, failure(error))
                self.ledger.settle_all()

    def _steps(self, steps: Iterable[Step], around: Around) -> None:
        for step in steps:
            if isinstance(step, Block):
                self._block(step, around)
            elif isinstance(step, Include):
                if self.setting.tags.selects(step.task.tags):
                    self._include(step, around)
            elif self.setting.tags.selects(step.tags):
                self._task(step, around)

    def _block(self, block: Block, around: Around) -> None:
        failed = self._attempt(block.steps, around, rescued=bool(block.rescue))
        if failed and block.rescue:
            self.host.vars.results["ansible_failed_task"] = {"name": failed.task}
            self.host.vars.results["ansible_failed_result"] = failed.result
            failed = self._attempt(block.rescue, around, rescued=False)
        self._steps(block.always, around)
        if failed:
            self.ledger.settle_all()
            raise failed

    def _attempt(self, steps: Iterable[Step], around: Around, rescued: bool) -> Failed | None:
        """Go through the steps; the failure that ended them, if one did."""
        # what was begun before must not be taken for a failure of these
        self.ledger.settle_all()
        self.ledger.rescuers += rescued
        try:
            self._steps(steps, around)
            self.ledger.settle_all()
        except Failed as error:
            self.ledger.abandon()
            self.dispatcher.begin_anew()
            return error
        finally:
            self.ledger.rescuers -= rescued
        return None

    def _flush_handlers(self) -> None:
        self.ledger.settle_all()
        done: list[Task] = []  # one that another handler notifies again is not run again
        while due := self.ledger.due_handlers(done):
            for handler in due:
                done.append(handler)
                self._task(handler, Around())
            self.ledger.settle_all()
        self.ledger.notified.clear()

    def _begin(self) -> None:
        """What comes before every task."""
        if self.setting.interrupted.is_set():
            raise Stopped
        if self.setting.together.in_step:
            self.ledger.settle_all()
            self.setting.together.arrive(self.host.name)
        else:
            self.ledger.settle_ready()

    def _task(self, task: Task, around: Around) -> None:
        self._begin()
        if task.module == "meta":
            self._meta(task, around)
        elif task.run_once or task.module in actions.ONCE:
            self._once(task, around)
        else:
            self._anywhere(task, around)

    def _meta(self, task: Task, around: Around) -> None:
        action = task.arguments["action"]
        if action == "flush_handlers":
            return self._flush_handlers()
        scope = self.host.scope(self.play, task, around.loop, around.includes)
        if self._templar(task).all(task.when, scope):
            self.ledger.settle_all()
            meta.carry_out(action, self.setting, self.host)
        return None

    def _once(self, task: Task, around: Around) -> None:
        """Run the task on the first host; the others share what it left."""
        together, results = self.setting.together, self.host.vars.results
        self._occurrences[task] += 1
        key = (task, self._occurrences[task])
        self.ledger.settle_all()
        shared = together.turn(self.host.name, key)
        if shared is not None:
            results.update(shared.variables)
            if shared.failed:
                raise CutOff(f"stopped, since {task.name!r}, which runs once, failed")
            return
        before = dict(results)
        try:
            self._anywhere(task, around)
            self.ledger.settle_all()
        except Exception:
            together.share(key, Shared(failed=True))
            raise
        new = {name for name, value in results.items() if before.get(name) is not value}
        left = {name: _ended(results[name]) for name in new}
        together.share(key, Shared(left))

    def _anywhere(self, task: Task, around: Around) -> None:
        scope = self.host.scope(self.play, task, around.loop, around.includes)
        group = self._group()
        if task.loop is None:
            registered: Later = self._start(task, scope, group)
        else:
            registered = self._loop(task, scope, group, around)
        if task.register:
            self.host.vars.results[task.register] = registered
        # a failure that the host can't see by itself must not be followed by more
        awaited = task.failed_when or task.until is not None or task.delegate_to
        if group.broken or awaited or task.module in actions.FACTS:
            self.ledger.settle_all()

    def _include(self, include: Include, around: Around) -> None:
        self._begin()
        task = include.task
        scope = self.host.scope(self.play, task, around.loop, around.includes)
        loops: list[dict[str, Any]] | None = [{}]
        if task.loop is not None:
            outcome = Outcome(task, scope, self.ledger.settle_until, self._group())
            loops = self._loops(task, scope, outcome)
        if loops is None:
            return self.ledger.settle_all()
        entered = [self._enter(include, around, loop) for loop in loops]
        some = any(steps is not None for steps, _, _ in entered)
        for steps, _, group in entered:
            # an item that is left out counts only where all are, and then once
            group.uncounted = steps is None and (some or group is not entered[0][2])
        if any(group.broken for _, _, group in entered):
            self.ledger.settle_all()
        for steps, inner, _ in entered:
            self._steps(steps or (), inner)
        return None

    def _enter(
        self, include: Include, around: Around, loop: dict[str, Any]
    ) -> tuple[tuple[Step, ...] | None, Around, Group]:
        """What an include brings in, for one item of its loop; None when it is skipped."""
        task, group = include.task, self._group()
        inner = Around((*around.includes, include.inside), {**around.loop, **loop})
        scope = self.host.scope(self.play, task, inner.loop, around.includes)
        templar = self._templar(task)
        outcome = Outcome(task, scope, self.ledger.settle_until, group, loop=loop)
        try:
            outcome.item = label(task, templar, scope, loop) if loop else None
            if not templar.all(task.when, scope):
                self._end_here(outcome, dict(SKIPPED))
                return None, inner, group
            included = include.fixed or include.load(templar.value(task.arguments, scope))
        except (TemplateFailed, BadInput) as error:
            self._end_here(outcome, failure(error))
            return (), inner, group
        self.ledger.handlers += included.handlers
        self._end_here(outcome, {"changed": False, "include": included.label})
        return included.steps, inner, group

    def _loop(self, task: Task, scope: Scope, group: Group, around: Around) -> Later:
        outcome = Outcome(task, scope, self.ledger.settle_until, group)
        loops = self._loops(task, scope, outcome)
        if loops is None:
            return outcome
        group.size = len(loops)
        items = []
        for number, loop in enumerate(loops):
            if number and task.pause and self.setting.interrupted.wait(task.pause):
                raise Stopped
            variables = {**around.loop, **loop}
            inner = self.host.scope(self.play, task, variables, around.includes)
            items.append(self._start(task, inner, group, loop))
        return LoopOutcome(items)

    def _loops(self, task: Task, scope: Scope, outcome: Outcome) -> list[dict[str, Any]] | None:
        """The variables of every turn of a loop; None when `outcome` has ended the task here."""
        try:
            items = self._items(task, scope)
        except TemplateFailed as error:
            # a task that is skipped as a whole may loop over something undefined
            skipped = task.when and not self._holds(task, scope)
            self._end_here(outcome, dict(SKIPPED) if skipped else failure(error))
            return None
        if not items:
            self._end_here(outcome, dict(NO_ITEMS))
            return None
        return [loop_variables(task, items, index) for index in range(len(items))]

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
        name = if_possible(task.name, templar, scope)
        task = task if name == task.name else replace(task, name=name)
        outcome = Outcome(task, scope, self.ledger.settle_until, group, loop=loop or {})
        try:
            if loop:
                outcome.item = label(task, templar, scope, loop)
            outcome.task = task = with_flags(task, templar, scope)
            if not templar.all(task.when, scope):
                self._end_here(outcome, dict(SKIPPED))
            elif task.module in actions.LOCAL:
                self._local(outcome, templar)
            elif task.module in links.CONNECTION:
                self._connection(outcome, templar)
            elif task.until is not None:
                self._until(outcome, templar)
            else:
                self.dispatcher.send(outcome, templar)
                self.ledger.add(outcome)
        except (TemplateFailed, actions.ActionFailed, Unsendable) as error:
            self._end_here(outcome, failure(error))
        return outcome

    def _local(self, outcome: Outcome, templar: Templar) -> None:
        task = outcome.task
        raw = {k: v for k, v in task.arguments.items() if (task.module, k) != ("assert", "that")}
        arguments = templar.value(raw, outcome.scope)
        result = actions.local(task, arguments, templar, outcome.scope, self._wait)
        written = self.host.vars.files if task.module == "include_vars" else self.host.vars.results
        written.update(result.get("ansible_facts", {}))
        self._end_here(outcome, result)

    def _wait(self, seconds: float) -> None:
        if self.setting.interrupted.wait(seconds):
            raise Stopped

    def _connection(self, outcome: Outcome, templar: Templar) -> None:
        """A task about the connection itself: nothing else is under way meanwhile."""
        self.ledger.settle_all()
        arguments = templar.value(outcome.task.arguments, outcome.scope)
        target, user = self.dispatcher.place(outcome, templar)
        asked = outcome.task.check_mode
        check = self.setting.check if asked is None else bool(asked)
        delegated = target.name != self.host.name
        link = links.Link(self.setting, target, user, check, delegated)
        self._end_here(outcome, links.CONNECTION[outcome.task.module](link, arguments))

    def _end_here(self, outcome: Outcome, result: dict[str, Any]) -> None:
        outcome.end(result)
        self.ledger.add(outcome)
        outcome.group.broken |= bool(result.get("failed"))

    def _until(self, outcome: Outcome, templar: Templar) -> None:
        """Try again, `retries` times at the most, until the condition holds."""
        task = outcome.task
        self.ledger.settle_all()
        for attempt in range(task.retries + 1):
            self.dispatcher.send(outcome, templar)
            self.ledger.take(outcome)
            outcome.result["attempts"] = attempt + 1
            if self._is_satisfied(outcome, templar):
                break
            if attempt < task.retries and self.setting.interrupted.wait(task.delay):
                raise Stopped
        else:
            outcome.result.setdefault("msg", f"not so after {task.retries} retries: {task.until}")
            fail(outcome, attempts=task.retries)
        self.ledger.add(outcome)

    def _is_satisfied(self, outcome: Outcome, templar: Templar) -> bool:
        if not outcome.task.until:
            return not outcome.result["failed"]
        # what the condition reads may not be there yet either
        try:
            return templar.all(outcome.task.until, with_result(outcome))
        except TemplateFailed:
            return False

    def _group(self) -> Group:
        return Group(next(self._groups))

    def _templar(self, task: Task | None) -> Templar:
        return self.setting.templar_for(task)


def _ended(value: Any) -> Any:
    return value.value() if isinstance(value, Later) else value
