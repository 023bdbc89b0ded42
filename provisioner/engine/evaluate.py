"""Parts of a task that are evaluated per host: flags, names, and what a turn of a loop knows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from provisioner.playbook.model import Task
from provisioner.playbook.modules import is_template
from provisioner.playbook.scope import Scope
from provisioner.playbook.templating import Templar, TemplateFailed


def with_flags(task: Task, templar: Templar, scope: Scope) -> Task:
    """The task with its flags evaluated, where they are expressions."""
    given: dict[str, Any] = {
        name: templar.condition(flag, scope)
        for name in ("become", "ignore_errors", "no_log", "check_mode", "diff")
        if isinstance(flag := getattr(task, name), str)
    }
    return replace(task, **given) if given else task


def loop_variables(task: Task, items: list[Any], index: int) -> dict[str, Any]:
    """The variables of one turn of a loop."""
    variables = {task.loop_var: items[index]}
    if task.index_var:
        variables[task.index_var] = index
    if task.extended:
        last = len(items) - 1
        variables["ansible_loop"] = {
            "allitems": items,
            "index": index + 1,
            "index0": index,
            "revindex": last - index + 1,
            "revindex0": last - index,
            "first": index == 0,
            "last": index == last,
            "length": len(items),
            **({"previtem": items[index - 1]} if index else {}),
            **({"nextitem": items[index + 1]} if index < last else {}),
        }
    return variables


def label(task: Task, templar: Templar, scope: Scope, loop: dict[str, Any]) -> str:
    """What a turn of a loop is called."""
    if task.loop_label is None:
        return str(loop[task.loop_var])
    return if_possible(task.loop_label, templar, scope)


def if_possible(text: str, templar: Templar, scope: Scope) -> str:
    """A name or label, evaluated where that is possible."""
    if not is_template(text):
        return text
    try:
        return str(templar.value(text, scope))
    except TemplateFailed:
        return text
