"""What each task module accepts, and the check of a task's arguments before a run."""

from __future__ import annotations

import difflib
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import provisioner.remote.modules
from provisioner.errors import BadInput, Problem, Source
from provisioner.remote.arguments import Argument, BadArgument, convert

_FILE = {
    "dest": Argument(required=True, aliases=("path",)),
    "mode": Argument("mode"),
    "owner": Argument(),
    "group": Argument(),
    "backup": Argument("bool", default=False),
    "force": Argument("bool", default=True),
    "validate": Argument(),
}

META = ("flush_handlers", "noop", "end_host", "end_play", "end_batch", "reset_connection")

# Modules that the controller carries out, alone or by another module on the host.
CONTROLLER: dict[str, dict[str, Argument]] = {
    "template": {"src": Argument(required=True), **_FILE},
    "copy": {
        "src": Argument(),
        "content": Argument("raw"),
        "remote_src": Argument("bool", default=False),
        "directory_mode": Argument("mode"),
        **_FILE,
    },
    "set_fact": {},
    "debug": {
        "msg": Argument("raw", default="Hello world!"),
        "var": Argument(),
        "verbosity": Argument("int", default=0),
    },
    "assert": {
        "that": Argument("raw", required=True),
        "fail_msg": Argument("raw", aliases=("msg",)),
        "success_msg": Argument("raw"),
        "quiet": Argument("bool", default=False),
    },
    "meta": {"action": Argument(required=True, choices=META)},
    "script": {
        "cmd": Argument(required=True),
        "creates": Argument(),
        "removes": Argument(),
        "chdir": Argument(),
        "executable": Argument(),
    },
    "include_vars": {"file": Argument(required=True), "name": Argument()},
    "pause": {"seconds": Argument("float"), "minutes": Argument("float"), "prompt": Argument()},
    "wait_for_connection": {
        "timeout": Argument("float", default=600.0),
        "connect_timeout": Argument("float", default=5.0),
        "delay": Argument("float", default=0.0),
        "sleep": Argument("float", default=1.0),
    },
    "reboot": {
        "reboot_timeout": Argument("float", default=600.0),
        "connect_timeout": Argument("float", default=5.0),
        "pre_reboot_delay": Argument("int", default=0),
        "post_reboot_delay": Argument("int", default=0),
        "test_command": Argument(default="whoami"),
        "reboot_command": Argument(),
        "msg": Argument(),
    },
    "fail": {"msg": Argument(default="Failed as requested from task")},
}


@dataclass(frozen=True)
class Spec:
    """`free_form` is the argument that a bare string stands for; `open` takes any argument."""

    arguments: dict[str, Argument]
    free_form: str | None = None
    open: bool = False


@functools.lru_cache(maxsize=1)
def names() -> frozenset[str]:
    """Every module that a task may name."""
    directory = Path(provisioner.remote.modules.__file__).parent
    # those that begin with an underscore are parts of others
    remote = {file.stem for file in directory.glob("*.py") if not file.stem.startswith("_")}
    return frozenset(remote | set(CONTROLLER))


@functools.cache
def spec(name: str) -> Spec:
    """What module `name` accepts; the name must be one of `names()`."""
    if name in CONTROLLER:
        free_form = {"meta": "action", "include_vars": "file", "script": "cmd"}.get(name)
        return Spec(CONTROLLER[name], free_form, open=name == "set_fact")
    module = importlib.import_module(f"provisioner.remote.modules.{name}")
    return Spec(module.ARGUMENTS, getattr(module, "FREE_FORM", None))


def is_template(value: Any) -> bool:
    """Whether the value holds Jinja, so that its type is known only per host."""
    if isinstance(value, str):
        return "{{" in value or "{%" in value or "{#" in value
    if isinstance(value, dict):
        return any(is_template(part) for part in value.values())
    return isinstance(value, list) and any(is_template(part) for part in value)


def suggestion(word: str, known: list[str]) -> str:
    """`did you mean X?`, or the list of what is known when it is short."""
    close = difflib.get_close_matches(word, known, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(sorted(known))}" if len(known) <= 12 else ""


def check_arguments(name: str, arguments: dict[str, Any], where: Source) -> None:
    """Raise BadInput for arguments that module `name` can't take."""
    module = spec(name)
    if module.open:
        _check_names(arguments, where)
        return
    aliases = {alias: real for real, a in module.arguments.items() for alias in a.aliases}
    problems = []
    for key, value in arguments.items():
        real = aliases.get(key, key)
        if real not in module.arguments:
            advice = suggestion(str(key), list(module.arguments))
            problems.append(Problem(f"{name} has no argument {key!r}", where, advice))
        elif value is not None and not is_template(value):
            problems.extend(_check_value(name, real, value, module.arguments[real], where))
    given = {aliases.get(key, key) for key in arguments}
    problems += [
        Problem(f"{name} needs the argument {key!r}", where)
        for key, argument in module.arguments.items()
        if argument.required and key not in given
    ]
    if problems:
        raise BadInput(problems)


def _check_names(facts: dict[str, Any], where: Source) -> None:
    for name in facts:
        if not is_template(name) and not str(name).isidentifier():
            advice = "use letters, digits and underscores"
            raise BadInput.of(f"{name!r} is no name for a variable", where, advice)


def _check_value(
    module: str, name: str, value: Any, argument: Argument, where: Source
) -> list[Problem]:
    try:
        converted = convert(name, value, argument.type)
    except BadArgument as error:
        return [Problem(f"{module}: {error}", where)]
    if argument.choices and converted not in argument.choices:
        allowed = ", ".join(map(str, argument.choices))
        return [Problem(f"{module}: {name} is {value!r}, must be one of: {allowed}", where)]
    return []
