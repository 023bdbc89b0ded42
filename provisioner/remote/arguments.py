"""What a task module accepts. Checked on the controller before anything is touched."""

from __future__ import annotations

from typing import Any, NamedTuple

TYPES = ("str", "int", "float", "bool", "list", "dict", "raw", "mode")
TRUE = frozenset({"yes", "on", "true", "1", "y", "t"})
FALSE = frozenset({"no", "off", "false", "0", "n", "f"})


class Argument(NamedTuple):
    """One argument of a module; `mode` is a file mode such as "0644", 420 or "u=rw,go=r"."""

    type: str = "str"
    required: bool = False
    default: Any = None
    choices: tuple[Any, ...] = ()
    aliases: tuple[str, ...] = ()
    secret: bool = False


class BadArgument(ValueError):
    """An argument is missing, unknown or of the wrong type; the message names it."""


def normalise(arguments: dict[str, Any], spec: dict[str, Argument]) -> dict[str, Any]:
    """Apply aliases, defaults, types and choices.

    Every argument of `spec` is in the result. Raises BadArgument.
    """
    names = {alias: name for name, argument in spec.items() for alias in argument.aliases}
    given: dict[str, Any] = {}
    for name, value in arguments.items():
        real = names.get(name, name)
        if real not in spec:
            raise BadArgument(f"unknown argument {name!r}")
        given[real] = value
    result: dict[str, Any] = {}
    for name, argument in spec.items():
        value = given.get(name)
        if value is None:
            if argument.required:
                raise BadArgument(f"missing argument {name!r}")
            result[name] = argument.default
            continue
        value = convert(name, value, argument.type)
        if argument.choices and value not in argument.choices:
            allowed = ", ".join(map(str, argument.choices))
            raise BadArgument(f"{name} is {value!r}, must be one of: {allowed}")
        result[name] = value
    return result


def convert(name: str, value: Any, kind: str) -> Any:
    """`value` as `kind`, converting as Ansible does. Raises BadArgument."""
    if kind == "raw":
        return value
    if kind == "bool":
        return _boolean(name, value)
    if kind == "list":
        if isinstance(value, str):
            return [part.strip() for part in value.split(",")]
        return list(value) if isinstance(value, (list, tuple)) else [value]
    if kind == "dict":
        if isinstance(value, dict):
            return dict(value)
        raise BadArgument(f"{name} must be a mapping, not {value!r}")
    if isinstance(value, (dict, list)):
        raise BadArgument(f"{name} must be a {kind}, not a {type(value).__name__}")
    if kind == "mode":
        # YAML 1.1 reads an unquoted 0644 as the octal number 420
        return f"{value:04o}" if isinstance(value, int) else str(value)
    if kind in ("int", "float"):
        try:
            return int(value) if kind == "int" else float(value)
        except (TypeError, ValueError):
            raise BadArgument(f"{name} must be a number, not {value!r}") from None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _boolean(name: str, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    word = str(value).strip().lower()
    if word in TRUE:
        return True
    if word in FALSE:
        return False
    raise BadArgument(f"{name} must be true or false, not {value!r}")
