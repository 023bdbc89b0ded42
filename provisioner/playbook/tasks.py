"""One task's mapping → a Task: keywords, module, arguments."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from provisioner.errors import BadInput, Problem, Source
from provisioner.playbook import modules
from provisioner.playbook.model import Role, Task
from provisioner.remote.arguments import BadArgument, convert
from provisioner.yamlsource import MarkedDict

KEYWORDS = frozenset(
    "name when loop with_items loop_control register notify listen tags become become_user vars "
    "environment delegate_to retries delay until changed_when failed_when ignore_errors no_log "
    "check_mode diff run_once args".split()
)
INHERITED = frozenset(
    "name when tags become become_user vars environment no_log check_mode diff ignore_errors "
    "delegate_to run_once".split()
)
# Ansible's own, which a play, block or task here can't have.
UNSUPPORTED = frozenset(
    "strategy order throttle async poll local_action action connection delegate_facts debugger "
    "module_defaults collections become_method become_flags become_exe force_handlers remote_user "
    "port timeout vars_prompt gather_subset gather_timeout fact_path ignore_unreachable "
    "first_available_file break_when".split()
)
PREFIXES = (
    "ansible.builtin.",
    "ansible.legacy.",
    "ansible.posix.",
    "community.general.",
    "b9prov.",
)


def task_from(mapping: MarkedDict, role: Role | None, outer: Task | None) -> Task:
    """The task that `mapping` describes, within a block or include `outer`. Raises BadInput."""
    module_key = module_key_of(mapping, KEYWORDS)
    module = short_name(module_key)
    where = mapping.where(module_key)
    if module == "meta":
        refuse_unknown(mapping, frozenset({module_key, "name", "tags", "when"}), "meta")
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
    refuse_unsupported(mapping)
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


def refuse_unsupported(mapping: MarkedDict) -> None:
    """Raise BadInput for keywords of Ansible that are outside the supported language."""
    problems = [
        Problem(
            f"{key!r} is not supported",
            mapping.where(key),
            "it is Ansible's, but outside the language that is understood here",
        )
        for key in mapping
        if key in UNSUPPORTED or (str(key).startswith("with_") and key != "with_items")
    ]
    if problems:
        raise BadInput(problems)


def refuse_unknown(mapping: MarkedDict, known: frozenset[str], what: str) -> None:
    """Raise BadInput for keys that are not in `known`."""
    refuse_unsupported(mapping)
    problems = [
        Problem(
            f"unknown {what} keyword {key!r}",
            mapping.where(key),
            modules.suggestion(str(key), sorted(known)) or "it is outside the supported language",
        )
        for key in mapping
        if key not in known
    ]
    if problems:
        raise BadInput(problems)


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
    return {**arguments, **mapping_of(mapping, "args")}


def _own_keywords(mapping: MarkedDict) -> dict[str, Any]:
    """Keywords that belong to the task itself and are not passed down by a block."""
    retried = "until" in mapping or "retries" in mapping
    return {
        **loop_keywords(mapping),
        "register": _variable(mapping, "register", mapping.get("register")),
        "notify": words_of(mapping, "notify"),
        "listen": words_of(mapping, "listen"),
        "until": conditions_of(mapping, "until") if retried else None,
        "retries": _number(mapping, "retries", "int", 3),
        "delay": _number(mapping, "delay", "float", 5.0),
        "changed_when": conditions_of(mapping, "changed_when") or None,
        "failed_when": conditions_of(mapping, "failed_when") or None,
    }


def outer_of(mapping: MarkedDict) -> Task:
    """What a play, block or import passes down, as a task without a module."""
    name = str(mapping.get("name") or "")
    return Task(name, "", {}, mapping.source, **inherited_keywords(mapping))


def loop_keywords(mapping: MarkedDict) -> dict[str, Any]:
    """`loop` or `with_items`, and what `loop_control` says. Raises BadInput."""
    control = mapping.get("loop_control") or MarkedDict()
    if not isinstance(control, MarkedDict):
        raise BadInput.of("loop_control must be a mapping", mapping.where("loop_control"))
    for key in control:
        if key not in ("loop_var", "label", "index_var", "extended", "pause"):
            raise BadInput.of(f"loop_control has no {key!r}", control.where(key))
    return {
        **_loop(mapping),
        "loop_var": _variable(mapping, "loop_control", control.get("loop_var", "item")),
        "index_var": _variable(mapping, "loop_control", control.get("index_var")),
        "loop_label": _text(control, "label"),
        "extended": _flag(control, "extended", False),
        "pause": _number(control, "pause", "float", 0.0),
    }


def _loop(mapping: MarkedDict) -> dict[str, Any]:
    given = [key for key in ("loop", "with_items") if key in mapping]
    if not given:
        return {}
    if len(given) > 1:
        raise BadInput.of("loop and with_items exclude each other", mapping.where("with_items"))
    [key] = given
    loop = mapping[key]
    if not isinstance(loop, (list, str)) or (key == "loop" and not _may_be_list(loop)):
        raise BadInput.of(f"{key} must be a list, or an expression for one", mapping.where(key))
    return {"loop": loop, "flatten": key == "with_items"}


def _may_be_list(loop: Any) -> bool:
    return isinstance(loop, list) or modules.is_template(loop)


def _variable(mapping: MarkedDict, key: str, name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not name.isidentifier():
        advice = "use letters, digits and underscores"
        raise BadInput.of(f"{name!r} is no name for a variable", mapping.where(key), advice)
    return name


def inherited_keywords(mapping: MarkedDict) -> dict[str, Any]:
    """Keywords that blocks and includes pass down to their tasks."""
    return {
        "when": conditions_of(mapping, "when"),
        "tags": frozenset(words_of(mapping, "tags")),
        "become": _flag_or_expression(mapping, "become", None),
        "become_user": _text(mapping, "become_user"),
        "vars": mapping_of(mapping, "vars"),
        "environment": _environment(mapping),
        "delegate_to": _text(mapping, "delegate_to"),
        "ignore_errors": _flag_or_expression(mapping, "ignore_errors", False),
        "no_log": _flag_or_expression(mapping, "no_log", False),
        "check_mode": _flag_or_expression(mapping, "check_mode", None),
        "diff": _flag_or_expression(mapping, "diff", None),
        "run_once": _flag(mapping, "run_once", False),
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
        environment=(*outer.environment, *task.environment),
        delegate_to=task.delegate_to or outer.delegate_to,
        ignore_errors=task.ignore_errors or outer.ignore_errors,
        no_log=task.no_log or outer.no_log,
        check_mode=task.check_mode if task.check_mode is not None else outer.check_mode,
        diff=task.diff if task.diff is not None else outer.diff,
        run_once=task.run_once or outer.run_once,
    )


def conditions_of(mapping: MarkedDict, key: str) -> tuple[Any, ...]:
    """One condition or a list of them, all of which must hold. Raises BadInput."""
    value = mapping.get(key)
    if value is None:
        return ()
    conditions = tuple(value) if isinstance(value, list) else (value,)
    for condition in conditions:
        if isinstance(condition, (dict, list)) or condition is None:
            advice = "quote it if it holds braces or a colon"
            raise BadInput.of(f"{key} must be an expression", mapping.where(key), advice)
    return conditions


def mapping_of(mapping: MarkedDict, key: str) -> dict[str, Any]:
    """The mapping under `key`, empty when there is none. Raises BadInput."""
    value = mapping.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadInput.of(f"{key} must be a mapping", mapping.where(key))
    return dict(value)


def words_of(mapping: MarkedDict, key: str) -> tuple[str, ...]:
    """Words from a list, or from a text with commas. Raises BadInput."""
    value = mapping.get(key)
    if value is None:
        return ()
    if isinstance(value, str):
        value = value.split(",") if key == "tags" else [value]
    if not isinstance(value, list) or any(isinstance(word, (dict, list)) for word in value):
        raise BadInput.of(f"{key} must be a word or a list of words", mapping.where(key))
    return tuple(str(word).strip() for word in value)


def _text(mapping: MarkedDict, key: str) -> str | None:
    value = mapping.get(key)
    if value is None or isinstance(value, str):
        return value
    raise BadInput.of(f"{key} must be a text, not {value!r}", mapping.where(key))


def _flag(mapping: MarkedDict, key: str, default: bool | None) -> bool | None:
    return _typed(mapping, key, "bool", default)  # type: ignore[no-any-return]


def _flag_or_expression(mapping: MarkedDict, key: str, default: bool | None) -> Any:
    if modules.is_template(mapping.get(key)):
        return mapping[key]
    return _flag(mapping, key, default)


def _environment(mapping: MarkedDict) -> tuple[Any, ...]:
    """The mappings of `environment`: one, a list of them, or an expression for one."""
    value = mapping.get("environment")
    layers = value if isinstance(value, list) else [] if value is None else [value]
    for layer in layers:
        if not isinstance(layer, dict) and not modules.is_template(layer):
            where = mapping.where("environment")
            raise BadInput.of("environment must be a mapping, or an expression for one", where)
    return tuple(layers)


def _number(mapping: MarkedDict, key: str, kind: str, default: float) -> Any:
    return _typed(mapping, key, kind, default)


def _typed(mapping: MarkedDict, key: str, kind: str, default: Any) -> Any:
    if mapping.get(key) is None:
        return default
    try:
        return convert(key, mapping[key], kind)
    except BadArgument as error:
        raise BadInput.of(str(error), mapping.where(key)) from None
