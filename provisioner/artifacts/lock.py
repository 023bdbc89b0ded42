"""Locks: which files are pinned, each by name, version and architecture with its SHA-256."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

import yaml

from provisioner import wholefile
from provisioner.errors import BadInput, Problem, Source
from provisioner.inventory import fields as f
from provisioner.inventory.explain import check
from provisioner.inventory.sections import Key, ListOf, Section, values
from provisioner.yamlsource import MarkedDict, load_yaml

FILE = "artifacts.lock.yaml"
SHIPPED = Path(__file__).with_name(FILE)
IMAGE = "docker://"  # what the URL of an image begins with; a container runtime pulls it
_FOLDERS = {"k3s-images": "k3s"}  # the images lie beside the program
_NEEDED = ("name", "version", "arch", "url", "sha256")
_URL = re.compile(r"(https?|docker)://[!-~]+")


class _Entry(Section):
    name = Key(f.NAME, None, "ollama, k3s, k3s-images, …")
    version = Key(f.PLAIN, None, "as the inventory has it")
    arch = Key(f.choice("amd64", "arm64", "any"), None, "what it runs on")
    url = Key(f.matching("a URL of http, https or docker", _URL), None, "where the vendor has it")
    sha256 = Key(f.SHA256, None, "of the file; of an image: its digest")
    size = Key(f.whole(1, 2**50), None, "bytes")
    licence = Key(f.TEXT, None, "SPDX")


class _Document(Section):
    artifacts = Key(ListOf(_Entry), [], "the files")


@dataclass(frozen=True)
class Entry:
    """One pinned file. `size` is in bytes, 0 when it is unknown; `arch` is "any" for all."""

    name: str
    version: str
    arch: str
    url: str
    sha256: str
    size: int = 0
    licence: str = ""

    @property
    def is_image(self) -> bool:
        """Whether it is an image, which a container runtime pulls, and not a file."""
        return self.url.startswith(IMAGE)

    @property
    def path(self) -> str:
        """Where it lies in a directory of artifacts and below a mirror's URL."""
        base = PurePosixPath(unquote(urlsplit(self.url).path)).name
        return f"{_FOLDERS.get(self.name, self.name)}/{self.version}/{base}"

    def __str__(self) -> str:
        return f"{self.name} {self.version}" + (f" ({self.arch})" if self.arch != "any" else "")


class Lock:
    """Entries by name, version and architecture; of two for the same the later one counts."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._entries = {(entry.name, entry.version, entry.arch): entry for entry in entries}

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries.values())

    def __len__(self) -> int:
        return len(self._entries)

    def find(self, name: str, version: str, arch: str) -> Entry | None:
        """The entry for that architecture, or for any."""
        found = self._entries.get((name, version, arch))
        return found or self._entries.get((name, version, "any"))

    def over(self, other: Lock) -> Lock:
        """Both, this one's entries before those of `other`."""
        return Lock([*other, *self])

    def with_entry(self, entry: Entry) -> Lock:
        """The lock with one entry more, or instead of an older one."""
        return Lock([*self, entry])

    def write(self, path: Path) -> None:
        """Write it as a lock file. Raises OSError."""
        rows = [
            {key: value for key, value in asdict(entry).items() if value}
            for entry in sorted(self, key=lambda each: (each.name, each.version, each.arch))
        ]
        text = yaml.safe_dump({"artifacts": rows}, sort_keys=False)
        path.parent.mkdir(parents=True, exist_ok=True)
        wholefile.replace(path, f"# Written by b9prov artifacts.\n{text}".encode())


def load_lock(path: Path) -> Lock:
    """Read a lock file. Raises BadInput with file and line of all that is wrong."""
    data = load_yaml(path)
    if data is None:
        return Lock()
    where = Source(str(path), 1)
    if not isinstance(data, MarkedDict):
        raise BadInput.of("expected a mapping with the key artifacts", where)
    problems = check(_Document, data, where) or list(_missing(data))
    if problems:
        raise BadInput(problems)
    return Lock(_entry(row) for row in data.get("artifacts") or ())


def _missing(data: MarkedDict) -> Iterator[Problem]:
    first: dict[tuple[str, ...], int] = {}
    for row in data.get("artifacts") or ():
        for key in _NEEDED:
            if row.get(key) is None:
                yield Problem(f"an artifact without {key}", row.source)
        identity = tuple(str(row.get(key)) for key in _NEEDED[:3])
        if identity in first:
            advice = f"it is already at line {first[identity]}"
            yield Problem(f"{' '.join(identity)} is there twice", row.source, advice)
        first.setdefault(identity, row.source.line)


def _entry(row: MarkedDict) -> Entry:
    found = values(_Entry, row)
    text = {key: str(found[key]) for key in _NEEDED}
    text["sha256"] = text["sha256"].lower()
    return Entry(**text, size=found["size"] or 0, licence=found["licence"] or "")


@functools.lru_cache(maxsize=1)
def shipped_lock() -> Lock:
    """The lock that comes with b9prov."""
    return load_lock(SHIPPED)


@functools.lru_cache(maxsize=64)
def _loaded(path: Path, written: int) -> Lock:
    return load_lock(path).over(shipped_lock())


def lock_of(path: str | None) -> Lock:
    """The shipped lock, under the user's own if there is one. Raises BadInput."""
    if not path:
        return shipped_lock()
    own = Path(path)
    return _loaded(own, own.stat().st_mtime_ns if own.exists() else 0)
