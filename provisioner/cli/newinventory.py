"""The text of a new inventory, with comments."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from provisioner.inventory import load_inventory

_COMMENTS = 36  # the column where they begin
_PLACEHOLDER = '"a token"'
Line = tuple[str, Any, str]


@dataclass
class Place:
    """A host and how to log in to it; None is left out, so that other settings are in force."""

    address: str
    port: int | None = None
    user: str | None = None
    identity_file: str | None = None
    host_key: str | None = None


@dataclass
class Answers:
    """What the user said. `token` is a reference, `!env NAME` or `!file PATH`."""

    user: str | None = None
    identity_file: str | None = None
    gateway: Place | None = None
    token: str | None = None
    pool: str = "gpu"
    gpu: bool | str = True
    hosts: dict[str, Place] = field(default_factory=dict)


def text_of(answers: Answers, name: str, token: str | None = None) -> str:
    """The inventory; `token` is written in place of the reference."""
    gateway = answers.gateway
    assert gateway
    lines = [
        "# Written by `b9prov init`; inventory.example.yaml has every key with its meaning.",
        f"# Check it after a change: b9prov inventory validate {name}",
        "gateway:",
        *_entries("  ", _gateway(gateway)),
        _line("  ", "admin_token", token or answers.token, "the cluster admin's, never in plain"),
        "",
        "defaults:                           # settings of every host",
        *_entries("  ", _defaults(answers)),
        "",
        "hosts:                              # the workers",
    ]
    for host, place in answers.hosts.items():
        lines += [f"  {_scalar(host)}:", *_entries("    ", _place(place))]
    return "\n".join(lines) + "\n"


def check(answers: Answers, folder: Path) -> None:
    """Read the text as an inventory of this folder. Raises BadInput."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", dir=folder) as file:
        file.write(text_of(answers, "", _PLACEHOLDER))
        file.flush()
        load_inventory(Path(file.name))


def _gateway(place: Place) -> list[Line]:
    head = ("host", place.address, "the host that the Beta9 gateway runs on")
    return [head, *_place(place)[1:]]


def _defaults(answers: Answers) -> list[Line]:
    return [
        ("user", answers.user, "SSH user"),
        ("identity_file", answers.identity_file, "private key"),
        ("pool", answers.pool, "a pool of the gateway's configuration"),
        ("gpu", answers.gpu, "true: healthy GPUs wanted; false: CPU only; auto: either"),
    ]


def _place(place: Place) -> list[Line]:
    return [
        ("address", place.address, ""),
        ("port", place.port, ""),
        ("user", place.user, ""),
        ("identity_file", place.identity_file, ""),
        ("host_key", place.host_key, "as it was shown to `b9prov init`"),
    ]


def _entries(indent: str, lines: list[Line]) -> list[str]:
    return [
        _line(indent, key, _scalar(value), about)
        for key, value, about in lines
        if value is not None
    ]


def _line(indent: str, key: str, value: Any, about: str) -> str:
    text = f"{indent}{key}: {value}"
    return f"{text:{_COMMENTS - 1}} # {about}" if about else text


def _scalar(value: Any) -> str:
    return yaml.safe_dump(value, width=10_000).removesuffix("...\n").strip()
