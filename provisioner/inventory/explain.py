"""Checks data against the schema; what does not fit becomes problems with file and line."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from provisioner.errors import Problem, Source
from provisioner.inventory import schema
from provisioner.inventory.fields import NAME, Unfit, expected
from provisioner.inventory.merge import place
from provisioner.inventory.references import Unresolved
from provisioner.inventory.sections import ByName, Kind, ListOf, Section
from provisioner.secrets import Secret, mask

_OTHER_NAMES = {
    "ansible_host": "address",
    "ansible_port": "port",
    "ansible_user": "user",
    "ansible_ssh_private_key_file": "identity_file",
    "ansible_become_password": "become_password",
    "ansible_become_pass": "become_password",
    "hostname": "address",
    "ip": "address",
    "key": "identity_file",
    "ssh_key": "identity_file",
    "private_key": "identity_file",
    "proxy_jump": "jump",
    "sudo_password": "become_password",
    "password": "become_password",
    "cpu_only": "gpu",
    "token": "admin_token",
}
_LONGEST = 60

_Path = tuple[Any, ...]
_Part = tuple[Any, Kind, Any]


def check(section: type[Section], data: Any, fallback: Source) -> list[Problem]:
    """All that is wrong with `data` as a `section`; `fallback` is its own place."""
    return list(_problems(section, data, (), fallback))


def suggestion(word: Any, known: list[str]) -> str:
    """A "did you mean" for `word`, or nothing."""
    close = difflib.get_close_matches(str(word), known, n=1)
    if not close:  # one word of a name with several
        parts = {part: name for name in known for part in name.split("_") if len(part) > 3}
        close = [parts[p] for p in difflib.get_close_matches(str(word), parts, n=1, cutoff=0.8)]
    return f"did you mean {close[0]!r}?" if close else ""


def shown(value: Any) -> str:
    """`value` as an error message may show it."""
    if value is None:
        return "nothing"
    if isinstance(value, Secret):
        return "another value, which is secret"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = str(value).lower() if isinstance(value, bool) else mask(repr(value))
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"


def _problems(kind: Kind, value: Any, path: _Path, where: Source) -> Iterator[Problem]:
    """What is wrong with `value`, which stands at `where`, and with all in it."""
    try:
        parts = _parts(kind, value)
    except Unfit as unfit:
        yield _problem(unfit, value, path, place(value, [unfit.key], where))
        return
    for name, inner, part in parts:
        yield from _problems(inner, part, (*path, name), place(value, [name], where))
    if isinstance(kind, type):
        yield from _unknown_keys(kind, value, path, where)


def _parts(kind: Kind, value: Any) -> list[_Part]:
    """The name, kind and value of each part of `value` to look into. Raises Unfit."""
    if isinstance(kind, ListOf):
        if not isinstance(value, list):
            raise expected("a list")
        return [(index, kind.item, item) for index, item in enumerate(value)]
    if isinstance(kind, ByName):
        entries = _mapping(value).items()
        return [part for n, v in entries for part in ((n, NAME, n), (n, kind.section, v))]
    if isinstance(kind, type):
        return _known_keys(kind, _mapping(value))
    if not isinstance(value, Unresolved):
        kind(value)
    return []


def _mapping(value: Any) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise expected("a mapping")
    return value


def _known_keys(section: type[Section], data: dict[Any, Any]) -> list[_Part]:
    return [
        (name, key.kind, data[name])
        for name, key in section.keys.items()
        if name in data and data[name] is not key.default  # such as null
    ]


def _problem(unfit: Unfit, value: Any, path: _Path, where: Source) -> Problem:
    subject = f"{_dotted(path)}: " if path else ""
    got = f", got {shown(value)}" if unfit.shows else ""
    return Problem(subject + unfit.message + got, where, unfit.advice)


def _unknown_keys(
    section: type[Section], data: dict[Any, Any], path: _Path, where: Source
) -> Iterator[Problem]:
    inside = f" in {_dotted(path)}" if path else ""
    for given in [key for key in data if key not in section.keys]:
        key, at = str(given), place(data, [given], where)
        if key in schema.HOST_ONLY_KEYS and issubclass(section, schema.Settings):
            yield Problem(f"{key!r}{inside} can be given for single hosts only", at)
        else:
            yield Problem(f"unknown key {key!r}{inside}", at, _advice(key, list(section.keys)))


def _advice(key: str, known: list[str]) -> str:
    """What to write in place of an unknown key."""
    if close := suggestion(key, known):
        return close
    if _OTHER_NAMES.get(key) in known:
        return f"did you mean {_OTHER_NAMES[key]!r}?"
    if "vars" in known:
        return "variables of your own go under vars:"
    return "known here: " + ", ".join(known)


def _dotted(path: _Path) -> str:
    return ".".join(map(str, path))
