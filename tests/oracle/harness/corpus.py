"""The playbooks of the corpus, and what each one's key says of it.

A playbook is `NAME.yaml`, or `NAME/playbook.yaml` with the files that it needs beside it. Its key
is `NAME.key.yaml` or `NAME/key.yaml`; without one it runs on one host and must differ in nothing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

CORPUS = Path(__file__).parent.parent / "corpus"
_KEY = "key.yaml"


@dataclass(frozen=True)
class Expected:
    """A difference on purpose; `phase` and `what` are patterns as of file names."""

    reason: str
    what: str
    phase: str = "*"


@dataclass(frozen=True)
class Entry:
    """`hosts` many hosts, h1, h2, …; `gone` adds one that does not answer; `probes` are commands
    whose output on each host is compared as well."""

    name: str
    path: Path
    hosts: int = 1
    gone: bool = False
    arguments: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()
    differences: tuple[Expected, ...] = field(default=(), hash=False)

    def place(self, folder: Path) -> Path:
        """Copy it with its files to `folder`; the path of the playbook there."""
        if self.path.name == "playbook.yaml":
            shutil.copytree(self.path.parent, folder, ignore=shutil.ignore_patterns(_KEY))
        else:
            folder.mkdir(parents=True)
            shutil.copy(self.path, folder / "playbook.yaml")
        return folder / "playbook.yaml"


def load_corpus(corpus: Path = CORPUS) -> list[Entry]:
    """All of it, by name."""
    return sorted(_entries(corpus), key=lambda entry: entry.name)


def _entries(corpus: Path) -> Iterator[Entry]:
    for path in corpus.glob("*.yaml"):
        if not path.name.endswith(f".{_KEY}"):
            yield _entry(path.stem, path, path.with_name(f"{path.stem}.{_KEY}"))
    for path in corpus.glob("*/playbook.yaml"):
        yield _entry(path.parent.name, path, path.with_name(_KEY))


def _entry(name: str, path: Path, key: Path) -> Entry:
    said: dict[str, Any] = yaml.safe_load(key.read_text()) if key.exists() else {}
    differences = tuple(Expected(**each) for each in said.pop("differences", ()))
    words = {name: tuple(said.pop(name, ())) for name in ("arguments", "probes")}
    return Entry(name, path, differences=differences, **words, **said)
