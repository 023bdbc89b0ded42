"""Finds undefined variables, unknown filters and missing templates before anything is done.

What depends on a run (attributes of results, say) is left to the run; a name that nothing could
define for a host on which the task would run is an error here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from jinja2 import meta, nodes

from provisioner.errors import BadInput, Problem, Source
from provisioner.playbook.model import Play, Playbook, Reached, Task
from provisioner.playbook.modules import is_template, suggestion
from provisioner.playbook.reading import variables_in, vars_file
from provisioner.playbook.scope import Scope
from provisioner.playbook.templating import Templar, TemplateFailed

TemplarFor = Callable[[Play, Task], Templar]
ScopesFor = Callable[[Play, Reached], Mapping[str, Scope]]
"""For each host of a play, what a task sees there before the run."""

_GLOBALS = frozenset({"range", "dict", "lookup", "cycler", "joiner", "namespace", "lipsum", "now"})
_MAGIC = frozenset({"playbook_dir", "ansible_facts", "hostvars"})
_FACTS = {"package_facts": {"packages"}, "service_facts": {"services"}}
_BARE = ("when", "until", "changed_when", "failed_when")


def check_playbook(
    playbook: Playbook,
    hosts: Collection[str],
    scopes_for: ScopesFor,
    templar_for: TemplarFor,
    is_selected: Callable[[Task], bool] = lambda task: True,
) -> None:
    """Raise BadInput for what is undefined in some task on some host.

    `hosts` are those that a task may be delegated to; tasks that are not selected are passed over.
    """
    tasks = [(play, reached) for play in playbook.plays for reached in play.reached]
    made = {
        name for play, each in tasks for name in _made_by(each.task, templar_for(play, each.task))
    }
    if any(_is_open(play) for play in playbook.plays):
        made = Everything(made)
    problems: list[Problem] = []
    for play, reached in tasks:
        task = reached.task
        if is_selected(task) or task in play.handlers:
            scopes = scopes_for(play, reached)
            problems += _TaskCheck(play, reached, scopes, templar_for(play, task)).problems(
                made, hosts
            )
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))


class Everything(set[str]):
    """The names made where the run alone can tell all of them: it lacks none."""

    def __contains__(self, name: object) -> bool:
        return True


def _is_open(play: Play) -> bool:
    """Whether the play has tasks or variables in files that are chosen on the way."""
    if play.vars_files:
        return True
    modules = ("include_tasks", "include_role", "include_vars", "getent")
    return any(
        (task.module in modules and is_template(task.arguments))
        or (task.module == "set_fact" and any(map(is_template, task.arguments)))
        for task in play.tasks
    )


def _made_by(task: Task, templar: Templar) -> set[str]:
    names = {task.register} if task.register else set()
    if task.module == "set_fact":
        names |= set(task.arguments)
    elif task.module == "getent":
        names.add(f"getent_{task.arguments.get('database')}")
    elif task.module in _FACTS:
        names |= _FACTS[task.module]
    elif task.module == "include_vars" and not is_template(task.arguments):
        named = task.arguments.get("name")
        file = vars_file(str(task.arguments.get("file")), task.role, templar.search)
        names |= {named} if named else set(variables_in(file)) if file else set()
    return {str(name) for name in names}


class _TaskCheck:
    """The check of one task on all hosts of its play."""

    def __init__(
        self, play: Play, reached: Reached, scopes: Mapping[str, Scope], templar: Templar
    ) -> None:
        self.play, self.task, self.around = play, reached.task, reached.around
        self.scopes, self.templar = scopes, templar
        self.found: list[Problem] = []

    def problems(self, made: Collection[str], hosts: Collection[str]) -> list[Problem]:
        """What is wrong with the task; `made` are the names that some task defines."""
        guarded: set[str] = set()
        uses: list[tuple[str, Source]] = []
        for tree, where in self._trees():
            guarded |= _guarded(tree)
            unknown = list(self.templar.unknown_names(tree))
            self.found += [Problem(f"there is no {what}", where(line)) for what, line in unknown]
            if not unknown:  # else Jinja can't compile it, which the names may need
                uses += [(name, where(line)) for name, line in _undeclared(tree)]
        loop = {name for each in (self.task, *self.around) for name in _loop_names(each)}
        known = {*guarded, *loop, *_GLOBALS, *_MAGIC}
        for name, place in uses:
            if name not in known and name not in made and not name.startswith("ansible_"):
                self._require(name, place, made)
        self._check_delegation(hosts)
        return self.found

    def _require(self, name: str, place: Source, made: Collection[str]) -> None:
        lacking = [
            host
            for host, scope in self.scopes.items()
            if not scope.is_ready(name) and not self._is_skipped(scope)
        ]
        if lacking:
            whom = "" if len(lacking) == len(self.scopes) else f" for {', '.join(lacking)}"
            names = {*made, *self.scopes[lacking[0]].names()}
            advice = suggestion(name, sorted(names))
            self.found.append(Problem(f"{name!r} is undefined{whom}", place, advice))

    def _check_delegation(self, hosts: Collection[str]) -> None:
        name = self.task.delegate_to
        if name is None or is_template(name) or name in hosts:
            return
        if not all(self._is_skipped(scope) for scope in self.scopes.values()):
            message = f"delegate_to: there is no host {name!r}"
            self.found.append(Problem(message, self.task.where, suggestion(name, sorted(hosts))))

    def _is_skipped(self, scope: Scope) -> bool:
        """Whether a condition that depends on nothing of the run keeps the task from the host."""
        for condition in _conditions(self.task, self.around):
            try:
                if not self.templar.condition(condition, scope):
                    return True
            except TemplateFailed:
                continue
        return False

    def _trees(self) -> Iterator[tuple[nodes.Template, Callable[[int], Source]]]:
        """Every expression as a syntax tree, with a function from its lines to places."""
        task = self.task
        for text, bare in _texts(self.play, task):
            try:
                yield self.templar.parse(text, bare), lambda line: task.where
            except TemplateFailed as error:
                self.found.append(Problem(f"{error.message}, in {text!r}", task.where))
        source = task.arguments.get("src")
        if task.module == "template" and isinstance(source, str) and not is_template(source):
            try:
                tree, path = self.templar.parse_file(source)
            except TemplateFailed as error:
                self.found.append(Problem(error.message, error.where or task.where))
                return
            yield tree, functools.partial(Source, str(path))


def _loop_names(task: Task) -> set[str]:
    if task.loop is None:
        return set()
    names = {task.loop_var, task.index_var, "ansible_loop" if task.extended else None}
    return {name for name in names if name}


def _conditions(task: Task, around: tuple[Task, ...]) -> Iterator[Any]:
    for include in around:
        yield from include.when
    yield from task.when


def _texts(play: Play, task: Task) -> Iterator[tuple[str, bool]]:
    """Strings of a task that hold Jinja, and whether they are expressions without braces."""
    become_user = task.become_user or play.become_user
    values: list[Any] = [
        *(task.arguments, task.loop, task.vars, list(task.notify)),
        *(list(play.environment), list(task.environment), task.delegate_to, become_user),
        *(task.become, task.ignore_errors, task.no_log, task.check_mode, task.diff),
    ]
    if task.role:
        values.append(task.role.params)
    for value in values:
        for text in _strings(value):
            if is_template(text):
                yield text, False
    bare = [condition for keyword in _BARE for condition in getattr(task, keyword) or ()]
    for condition in bare:
        if isinstance(condition, str):
            yield condition, not is_template(condition)
    if task.module == "assert":
        for condition in _strings(task.arguments.get("that")):
            yield condition, not is_template(condition)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)


def _undeclared(tree: nodes.Template) -> Iterator[tuple[str, int]]:
    if all(isinstance(node, nodes.Output) for node in tree.body):
        # it binds no name itself; to ask Jinja, which compiles it, would cost most of the check
        names = {name.name for name in tree.find_all(nodes.Name)}
    else:
        names = meta.find_undeclared_variables(tree)
    for name in tree.find_all(nodes.Name):
        if name.name in names:
            names.discard(name.name)
            yield name.name, name.lineno


def _guarded(tree: nodes.Template) -> set[str]:
    """Names whose being undefined the expression itself provides for."""
    names: set[str] = set()
    for node in tree.find_all((nodes.Filter, nodes.Test)):
        if node.name in ("default", "d", "defined", "undefined", "mandatory"):
            names |= {name.name for name in node.find_all(nodes.Name)}
    return names
