"""Command-line flags as Go's `flag` package reads them, which the published guides rely on.

`-name value`, `-name=value` and the same with two dashes; a switch may be `-name=false`. A value
may begin with a dash: machine tokens do, and argparse would take them for flags.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple


class UsageError(Exception):
    """A command line that makes no sense. Its text shows no values: they may be secrets."""


class Flags(NamedTuple):
    """A parsed command line."""

    values: dict[str, str]
    switches: dict[str, bool]
    words: list[str]


_TRUTHS = {"true": True, "1": True, "t": True, "false": False, "0": False, "f": False}


def parse(arguments: list[str], valued: Collection[str], switches: Collection[str]) -> Flags:
    """Split `arguments` into flags with values, switches and other words."""
    found = Flags({}, {}, [])
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            found.words.extend(rest)
        elif not argument.startswith("-") or argument == "-":
            found.words.append(argument)
        else:
            name, equals, value = argument.lstrip("-").partition("=")
            if name in switches:
                found.switches[name] = _truth(name, value) if equals else True
            elif name in valued:
                found.values[name] = value if equals else _next(name, rest)
            else:
                raise UsageError(f"unknown flag --{name}{_suggestion(name, valued, switches)}")
    return found


def _next(name: str, rest: Iterator[str]) -> str:
    value = next(rest, None)
    if value is None:
        raise UsageError(f"flag --{name} needs a value")
    return value


def _truth(name: str, text: str) -> bool:
    if text.lower() not in _TRUTHS:
        raise UsageError(f"flag --{name} is either true or false")
    return _TRUTHS[text.lower()]


def _suggestion(name: str, valued: Collection[str], switches: Collection[str]) -> str:
    import difflib  # only needed for a mistake

    close = difflib.get_close_matches(name, [*valued, *switches], 1)
    return f"; did you mean --{close[0]}?" if close else ""
