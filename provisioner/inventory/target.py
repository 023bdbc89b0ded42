"""Hosts given on the command line: USER@ADDRESS[:PORT]."""

from __future__ import annotations

import re
from typing import Any

from provisioner.errors import Problem, Source
from provisioner.inventory.fields import is_dns, is_ip, is_port

_TARGET = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<rest>[^@\s]+)")
_BRACKETED = re.compile(r"\[(?P<address>[^\[\]]+)\](?::(?P<port>[^:]*))?")
_DEFAULT_PORT = 22


def parse_target(text: str, option: str) -> tuple[str, dict[str, Any], Problem | None]:
    """A name for the target, its connection settings, and what is wrong with it.

    The name depends on the target alone, because it names the worker on the gateway as well.
    """
    match = _TARGET.fullmatch(text.strip())
    address, port = _split(match["rest"]) if match else ("", None)
    entry: dict[str, Any] = {"address": address}
    if match and match["user"]:
        entry["user"] = match["user"]
    if port is not None:
        entry["port"] = port
    if (is_ip(address) or is_dns(address)) and (port is None or is_port(port)):
        return _name(address, int(port or _DEFAULT_PORT)), entry, None
    advice = "an IPv6 address with a port is written [ADDRESS]:PORT"
    return "", entry, Problem(f"expected USER@ADDRESS[:PORT], got {text!r}", Source(option), advice)


def _split(rest: str) -> tuple[str, str | None]:
    bracketed = _BRACKETED.fullmatch(rest)
    if bracketed:
        return bracketed["address"], bracketed["port"]
    if is_ip(rest):
        return rest, None
    address, colon, port = rest.partition(":")
    return address, port if colon else None


def _name(address: str, port: int) -> str:
    word = re.sub(r"[^A-Za-z0-9._-]", "-", address).lstrip("-.")
    return word if port == _DEFAULT_PORT else f"{word}-{port}"
