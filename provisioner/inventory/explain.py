"""Checks data against a schema model; pydantic's errors become problems with file and line."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from provisioner.errors import Problem, Source
from provisioner.inventory import schema
from provisioner.inventory.merge import place
from provisioner.inventory.references import Unresolved
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
_EXPECTED = {
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "dict_type": "a mapping",
    "list_type": "a list",
}
_LONGEST = 60


def check(model: type[schema.Section], data: Any, fallback: Source) -> list[Problem]:
    """What is wrong with `data` as a `model`; nothing when all is well."""
    try:
        model.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        return [
            _problem(detail, model, data, fallback)
            for detail in details
            if not isinstance(detail["input"], Unresolved)
        ]
    return []


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


def _problem(detail: ErrorDetails, model: type[BaseModel], data: Any, fallback: Source) -> Problem:
    path = [part for part in detail["loc"] if part != "[key]"]
    context = detail.get("ctx", {})
    where = place(data, [*path, context.get("key")], fallback)
    name = ".".join(map(str, path))
    if detail["type"] in ("extra_forbidden", "invalid_key"):
        return _unknown_key(path, model, where)
    what = context.get("what") or _EXPECTED.get(detail["type"]) or detail["msg"]
    if detail["type"] == "bad_key":
        message = what
    elif _holds_secret(path, model):
        message = f"expected {what}"
    else:
        message = f"expected {what}, got {shown(detail['input'])}"
    subject = f"{name}: " if name else ""
    return Problem(subject + message, where, context.get("advice", ""))


def _unknown_key(path: list[Any], model: type[BaseModel], where: Source) -> Problem:
    section = _model_at(model, path[:-1])
    known = list(section.model_fields)
    key = str(path[-1])
    inside = f" in {'.'.join(map(str, path[:-1]))}" if path[:-1] else ""
    if key in schema.HOST_ONLY_KEYS and issubclass(section, schema.Settings):
        return Problem(f"{key!r}{inside} can be given for single hosts only", where)
    advice = suggestion(key, known)
    if not advice and _OTHER_NAMES.get(key) in known:
        advice = f"did you mean {_OTHER_NAMES[key]!r}?"
    if not advice and "vars" in known:
        advice = "variables of your own go under vars:"
    return Problem(
        f"unknown key {key!r}{inside}", where, advice or "known here: " + ", ".join(known)
    )


def _model_at(model: type[BaseModel], path: list[Any]) -> type[BaseModel]:
    """The section that the keys of `path` lead to."""
    parts = iter(path)
    for part in parts:
        annotation = model.model_fields[str(part)].annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            model = annotation
        else:  # a mapping of names to sections
            model = get_args(annotation)[1]
            next(parts, None)
    return model


def _holds_secret(path: list[Any], model: type[BaseModel]) -> bool:
    if not path or not all(isinstance(part, str) for part in path):
        return False
    field = _model_at(model, path[:-1]).model_fields.get(path[-1])
    return field is not None and "Secret" in str(field.annotation)
