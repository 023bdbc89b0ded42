"""What a run is made of, as bytes to take digests of: playbook, inventory, variables."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

from provisioner import __version__
from provisioner.cli.session import Session
from provisioner.paths import data_dir
from provisioner.secrets import revealed

WORDS = {
    "b9prov": "b9prov itself",
    "variables": "the extra variables (-e, --pool)",
    "inventory": "the inventory",
    "playbook": "the playbook, its roles or templates",
}
_BESIDE = ("roles", "templates", "files", "vars", "tasks", "handlers")


def inputs(session: Session) -> dict[str, bytes]:
    """By what they are called. They hold secrets: keep only digests under a key."""
    inventory = {**vars(session.inventory), "source": ""}
    return {
        "b9prov": __version__.encode(),
        "variables": _bytes(dict(session.options.extra)),
        "inventory": _bytes([inventory, _locks(session)]),
        "playbook": _bytes([_variables(session), sorted(_contents(session))]),
    }


def _locks(session: Session) -> list[str]:
    """The locks of artifacts that the inventory names; they were read already."""
    hosts = session.inventory.hosts.values()
    paths = {host.variables.get("artifacts", {}).get("lock") for host in hosts}
    return [Path(path).read_text(encoding="utf-8") for path in sorted(filter(None, paths))]


def digests(session: Session, salt: str) -> dict[str, str]:
    """Those of the inputs, under a key that is not secret by itself."""
    key = bytes.fromhex(salt)
    return {
        name: hmac.new(key, data, "sha256").hexdigest() for name, data in inputs(session).items()
    }


def what_differs(then: dict[str, str], now: dict[str, str]) -> list[str]:
    """The inputs that are not as they were, in words."""
    names = [name for name in WORDS if then.get(name) != now.get(name)]
    if "variables" in names and "inventory" in names:
        names.remove("inventory")  # it is evaluated with them
    return [WORDS[name] for name in names]


def _bytes(content: Any) -> bytes:
    return json.dumps(content, sort_keys=True, default=_plain).encode()


def _plain(value: Any) -> Any:
    return vars(value) if is_dataclass(value) else str(revealed(value))


def _variables(session: Session) -> list[Any]:
    """Those that plays have from files, wherever these are."""
    return [[play.vars, play.role_vars, play.role_defaults] for play in session.playbook.plays]


def _contents(session: Session) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every file that the playbook is known to be made of."""
    for file in _single_files(session):
        yield file.name, _sha256(file)
    for folder in _folders(session):
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            yield f"{folder.name}/{file.relative_to(folder)}", _sha256(file)


def _folders(session: Session) -> set[Path]:
    playbook, options, loader = session.playbook, session.options, session.loader
    beside = {play.directory for play in playbook.plays}
    beside |= {loader.overrides} if loader.overrides else set()
    roles = {task.role.path for play in playbook.plays for task in play.tasks if task.role}
    found = {place / name for place in beside for name in _BESIDE} | roles
    return {path.resolve() for path in (*found, *options.template_dirs, data_dir("templates"))}


def _single_files(session: Session) -> set[Path]:
    found = {session.playbook.path}
    for play in session.playbook.plays:
        found.add(Path(play.where.file))
        for task in play.tasks:
            found.add(Path(task.where.file))
            words = (word for word in task.arguments.values() if isinstance(word, str))
            found |= {play.directory / word for word in words if _may_be_a_name(word)}
    return {file.resolve() for file in found if file.is_file()}


def _may_be_a_name(word: str) -> bool:
    return 0 < len(word) < 200 and "\n" not in word and "\0" not in word and word[0] != "/"


def _sha256(file: Path) -> str:
    digest = hashlib.sha256()
    try:
        with file.open("rb") as stream:
            while piece := stream.read(1 << 20):
                digest.update(piece)
    except OSError as error:
        return f"unreadable: {error.strerror}"  # whoever needs it will say so
    return digest.hexdigest()
