"""Finds undefined variables and missing templates before any host is contacted.

What depends on a run (attributes of results, say) is left to the run; a name that nothing could
define is an error here.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from jinja2 import meta, nodes

from provisioner.errors import BadInput, Problem, Source
from provisioner.playbook.model import Play, Playbook, Task
from provisioner.playbook.modules import is_template, suggestion
from provisioner.playbook.templating import Templar, TemplateFailed

TemplarFor = Callable[[Play, Task], Templar]

_GLOBALS = frozenset({"range", "dict", "lookup", "cycler", "joiner", "namespace", "lipsum", "now"})
_MAGIC = frozenset({"playbook_dir", "role_path", "role_name", "ansible_facts", "hostvars"})
_BARE = ("when", "until", "changed_when", "failed_when")


def check_playbook(
    playbook: Playbook, variables: Mapping[str, Collection[str]], templar_for: TemplarFor
) -> None:
    """Raise BadInput for names that are undefined in some task.

    `variables` maps each host to the names that are defined before the run.
    """
    problems: list[Problem] = []
    made: set[str] = set()
    for play in playbook.plays:
        for task in (*play.tasks, *play.handlers):
            made |= _made_by(task)
    for play in playbook.plays:
        for task in (*play.tasks, *play.handlers):
            problems += _check_task(play, task, made, variables, templar_for(play, task))
    if problems:
        raise BadInput(list(dict.fromkeys(problems)))


def _made_by(task: Task) -> set[str]:
    names = {task.register} if task.register else set()
    if task.module == "set_fact":
        names |= set(task.arguments)
    return {str(name) for name in names}


def _check_task(
    play: Play,
    task: Task,
    made: set[str],
    variables: Mapping[str, Collection[str]],
    templar: Templar,
) -> list[Problem]:
    known = made | _MAGIC | _GLOBALS | set(play.vars) | set(task.vars) | {task.loop_var}
    if task.role:
        known |= {*task.role.params, *task.role.vars, *task.role.defaults}
    problems: list[Problem] = []
    guarded: set[str] = set()
    uses: list[tuple[str, Source]] = []
    for tree, where in _trees(task, templar, problems):
        guarded |= _guarded(tree)
        uses += [(name, where(line)) for name, line in _undeclared(tree)]
    for name, place in uses:
        if name in known or name in guarded or name.startswith("ansible_"):
            continue
        lacking = [host for host, defined in variables.items() if name not in defined]
        if lacking:
            everywhere = len(lacking) == len(variables)
            whom = "" if everywhere else f" for {', '.join(lacking)}"
            names = [*known, *next(iter(variables.values()), ())]
            problems.append(Problem(f"{name!r} is undefined{whom}", place, suggestion(name, names)))
    return problems


def _trees(
    task: Task, templar: Templar, problems: list[Problem]
) -> Iterator[tuple[nodes.Template, Callable[[int], Source]]]:
    """Every expression of a task as a syntax tree, with a function from its lines to places."""
    for text, bare in _texts(task):
        try:
            yield templar.parse(text, bare), lambda line: task.where
        except TemplateFailed as error:
            problems.append(Problem(f"{error.message}, in {text!r}", task.where))
    source = task.arguments.get("src")
    if task.module == "template" and isinstance(source, str) and not is_template(source):
        try:
            tree, path = templar.parse_file(source)
        except TemplateFailed as error:
            problems.append(Problem(error.message, error.where or task.where))
            return
        yield tree, functools.partial(Source, str(path))


def _texts(task: Task) -> Iterator[tuple[str, bool]]:
    """Strings of a task that hold Jinja, and whether they are expressions without braces."""
    values: list[Any] = [task.arguments, task.loop, task.environment, task.vars, task.delegate_to]
    if task.role:
        values.append(task.role.params)
    for value in values:
        for text in _strings(value):
            if is_template(text):
                yield text, False
    for keyword in _BARE:
        for condition in getattr(task, keyword) or ():
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
