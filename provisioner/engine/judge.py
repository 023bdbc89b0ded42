"""Judges results: what became of a task by its own conditions, and what may be shown of it."""

from __future__ import annotations

import re
from typing import Any

from provisioner import secrets
from provisioner.engine.outcome import Outcome
from provisioner.playbook.scope import Layer, Scope
from provisioner.playbook.templating import Templar, TemplateFailed

HIDDEN = "the output is hidden, since no_log is set"
_SHOWN_ANYWAY = ("changed", "advice")


def failure(error: Exception) -> dict[str, Any]:
    """The result of a task that failed on the controller."""
    return {"changed": False, "failed": True, "msg": str(error)}


def judge(outcome: Outcome, templar: Templar) -> None:
    """Set the status by the result, `changed_when` and `failed_when`."""
    task, result = outcome.task, outcome.result
    result.setdefault("failed", False)
    if result.get("skipped"):
        outcome.status = "skipped"
        return
    scope = with_result(outcome)
    try:
        if task.changed_when:
            result["changed"] = templar.all(task.changed_when, scope)
        if task.failed_when:
            result["failed"] = result["failed_when_result"] = templar.all(task.failed_when, scope)
    except TemplateFailed as error:
        result.update(failure(error))
    if result["failed"]:
        fail(outcome)
    else:
        outcome.status = "changed" if result.get("changed") else "ok"


def fail(outcome: Outcome, **extra: Any) -> None:
    """Have the outcome be a failure, which the task may ignore."""
    outcome.result.update(extra, failed=True)
    outcome.status = "ignored" if outcome.task.ignore_errors else "failed"


def with_result(outcome: Outcome) -> Scope:
    """What the task's own conditions see: its result under the name of `register`."""
    if not outcome.task.register:
        return outcome.scope
    return outcome.scope.over(Layer({outcome.task.register: outcome.result}, False))


def register_secrets(outcome: Outcome) -> None:
    """Have what must not be seen masked wherever it turns up from here on."""
    if outcome.task.no_log:
        _register_leaves(outcome.result)
    for name in outcome.result.get("_secrets", ()):
        secrets.register(str(outcome.result.get(name, "")))


def shown(outcome: Outcome) -> dict[str, Any]:
    """The part of the result that may be told."""
    if outcome.task.no_log:
        kept = {key: outcome.result[key] for key in _SHOWN_ANYWAY if key in outcome.result}
        return {"censored": HIDDEN, **kept}
    return {key: value for key, value in outcome.result.items() if key != "_secrets"}


def reason(outcome: Outcome) -> str:
    """Why the task failed, in a line or so."""
    if outcome.task.no_log:
        return HIDDEN
    by_condition = "the condition of failed_when holds" if outcome.task.failed_when else "failed"
    return str(outcome.result.get("msg") or by_condition)


def _register_leaves(value: Any) -> None:
    """What a `no_log` task brought is secret.

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
