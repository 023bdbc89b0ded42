"""One task's mapping → a Task: keywords, module, arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from provisioner.errors import BadInput, Source
from provisioner.playbook import modules
from provisioner.playbook.model import Role, Task
from provisioner.remote.arguments import BadArgument, convert
from provisioner.yamlsource import MarkedDict

KEYWORDS = frozenset(
    "name when loop with_items loop_control register notify listen tags become become_user vars "
    "environment delegate_to retries delay until changed_when failed_when ignore_errors no_log "
    "check_mode args".split()
)
INHERITED = frozenset(
    "name when tags become become_user vars environment no_log check_mode ignore_errors "
    "delegate_to".split()
)
PREFIXES = ("ansible.builtin.", "ansible.posix.", "b9prov.")


def task_from(mapping: MarkedDict, role: Role | None, outer: Task | None) -> Task:
    """The task that `mapping` describes, within a block or include `outer`. Raises BadInput."""
    module_key = module_key_of(mapping, KEYWORDS)
    module = short_name(module_key)
    where = mapping.where(module_key)
    arguments = _arguments(module, mapping[module_key], mapping, where)
    modules.check_arguments(module, arguments, where)
    task = Task(
        name=str(mapping.get("name") or module),
        module=module,
        arguments=arguments,
        where=mapping.source,
        role=role,
        **_own_keywords(mapping),
        **inherited_keywords(mapping),
    )
    return inherit(task, outer)


def module_key_of(mapping: MarkedDict, keywords: frozenset[str]) -> str:
    """The one key that is no keyword. Raises BadInput when there is none, or several."""
    others = [key for key in mapping if key not in keywords]
    if not others:
        raise BadInput.of("a task without a module", mapping.source, "say what it should do")
    unknown = [key for key in others if short_name(key) not in modules.names()]
    if unknown:
        known = sorted(modules.names() | keywords)
        raise BadInput.of(
            f"unknown module or keyword {unknown[0]!r}",
            mapping.where(unknown[0]),
            modules.suggestion(str(unknown[0]), known),
        )
    if len(others) > 1:
        raise BadInput.of(
            f"a task with several modules: {', '.join(others)}", mapping.where(others[1])
        )
    return str(others[0])


def short_name(key: Any) -> str:
    """A module's name without Ansible's collection."""
    name = str(key)
    for prefix in PREFIXES:
        if name.startswith(prefix):
            return name[len(prefix) :]
    return name


def _arguments(module: str, value: Any, mapping: MarkedDict, where: Source) -> dict[str, Any]:
    free_form = modules.spec(module).free_form
    if isinstance(value, str) and free_form:
        arguments = {free_form: value}
    elif isinstance(value, dict):
        arguments = dict(value)
    elif value is None:
        arguments = {}
    else:
        raise BadInput.of(
            f"{module} takes a mapping of arguments", where, "write `key: value` lines below it"
        )
    return {**arguments, **dict(mapping.get("args") or {})}


def _own_keywords(mapping: MarkedDict) -> dict[str, Any]:
    """Keywords that belong to the task itself and are not passed down by a block."""
    control = mapping.get("loop_control") or {}
    for key in control:
        if key not in ("loop_var", "label"):
            raise BadInput.of(f"loop_control has no {key!r}", mapping.where("loop_control"))
    loop = mapping.get("loop", mapping.get("with_items"))
    keywords: dict[str, Any] = {
        "loop": loop,
        "loop_var": str(control.get("loop_var", "item")),
        "loop_label": control.get("label"),
        "register": mapping.get("register"),
        "notify": _words(mapping.get("notify")),
        "listen": _words(mapping.get("listen")),
        "until": conditions(mapping.get("until")),
        "retries": _number(mapping, "retries", "int", 3),
        "delay": _number(mapping, "delay", "float", 5.0),
    }
    for key in ("changed_when", "failed_when"):
        if key in mapping:
            keywords[key] = conditions(mapping[key])
    return keywords


def inherited_keywords(mapping: MarkedDict) -> dict[str, Any]:
    """Keywords that blocks and includes pass down to their tasks."""
    return {
        "when": conditions(mapping.get("when")),
        "tags": frozenset(_words(mapping.get("tags"))),
        "become": _flag(mapping, "become", None),
        "become_user": mapping.get("become_user"),
        "vars": dict(mapping.get("vars") or {}),
        "environment": dict(mapping.get("environment") or {}),
        "delegate_to": mapping.get("delegate_to"),
        "ignore_errors": _flag(mapping, "ignore_errors", False),
        "no_log": _flag(mapping, "no_log", False),
        "check_mode": _flag(mapping, "check_mode", None),
    }


def inherit(task: Task, outer: Task | None) -> Task:
    """`task` with what the enclosing block or include says; the task's own word goes first."""
    if outer is None:
        return task
    return replace(
        task,
        when=(*outer.when, *task.when),
        tags=task.tags | outer.tags,
        become=task.become if task.become is not None else outer.become,
        become_user=task.become_user or outer.become_user,
        vars={**outer.vars, **task.vars},
        environment={**outer.environment, **task.environment},
        delegate_to=task.delegate_to or outer.delegate_to,
        ignore_errors=task.ignore_errors or outer.ignore_errors,
        no_log=task.no_log or outer.no_log,
        check_mode=task.check_mode if task.check_mode is not None else outer.check_mode,
    )


def conditions(value: Any) -> tuple[Any, ...]:
    """One condition or a list of them, all of which must hold."""
    if value is None:
        return ()
    return tuple(value) if isinstance(value, list) else (value,)


def _words(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str):
        return tuple(word.strip() for word in value.split(","))
    return tuple(str(word) for word in value)


def _flag(mapping: MarkedDict, key: str, default: bool | None) -> bool | None:
    return _typed(mapping, key, "bool", default)  # type: ignore[no-any-return]


def _number(mapping: MarkedDict, key: str, kind: str, default: float) -> Any:
    return _typed(mapping, key, kind, default)


def _typed(mapping: MarkedDict, key: str, kind: str, default: Any) -> Any:
    if mapping.get(key) is None:
        return default
    try:
        return convert(key, mapping[key], kind)
    except BadArgument as error:
        raise BadInput.of(str(error), mapping.where(key)) from None
