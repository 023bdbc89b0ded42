"""Packs the terminal UI, with the libraries that draw it, into one member of the zipapp.

The agent that runs as a service never looks into it: to it, it is one name more in the archive.
Runs on the controller and is itself not part of the result.
"""

from __future__ import annotations

import bz2
import hashlib
import importlib.metadata
import io
import re
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

File = tuple[str, bytes]  # where it goes, and what is in it
MEMBER = "provisioner/agent/tui.zip.bz2"
LIBRARIES = ("textual", "rich", "pygments", "typing_extensions")
# Beside what only other systems, authors of widgets and readers of other languages need.
_LEFT_OUT = re.compile(
    r"textual/(demo|tree-sitter)/|textual/(drivers/)?_?win"
    r"|pygments/lexers/(?!(__init__|_mapping|python|special)\.py)"
    r"|pygments/styles/(?!(__init__|_mapping|default)\.py)"
    r"|pygments/formatters/(?!(__init__|_mapping)\.py)"
)
_LICENCE = re.compile(r"(licen[cs]e|copying|authors).*", re.IGNORECASE)
# Textual imports one function of it, for downloads, which the agent's UI has none of; platformdirs
# itself wants a Python newer than many hosts have.
_NO_PLATFORMDIRS = b'''\
"""Stands for platformdirs, of which this program needs nothing."""


def user_downloads_path():
    raise NotImplementedError("there are no downloads here")
'''


def archive_of(files: Iterable[File], before: bytes = b"") -> bytes:
    """A zip archive of these files behind `before`: stored and dated alike everywhere, since
    compressed bytes differ from zlib to zlib."""
    data = io.BytesIO()
    data.write(before)
    with zipfile.ZipFile(data, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files):
            entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            entry.create_system = 3
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, content)
    return data.getvalue()


def packed_tui(kept: Path | None = None) -> bytes:
    """The member. `kept` is a folder where it is kept for the next time, for packing it takes
    half a second."""
    if kept is None:
        return _pack()
    file = kept / f"tui-{_key()}.bz2"
    try:
        return file.read_bytes()
    except OSError:
        data = _pack()
    kept.mkdir(parents=True, exist_ok=True)
    for old in kept.glob("tui-*.bz2"):
        old.unlink(missing_ok=True)
    half = file.with_name(f".{file.name}.{hashlib.sha256(data).hexdigest()[:8]}")
    half.write_bytes(data)
    half.replace(file)
    return data


def _pack() -> bytes:
    # Not deflated: those bytes differ from zlib to zlib, and of bzip2 there is but one.
    return bz2.compress(archive_of(_contents()), 9)


def _contents() -> Iterator[File]:
    yield "PYTHON", _oldest_python().encode()
    yield "platformdirs.py", _NO_PLATFORMDIRS
    for file in _own():
        yield f"provisioner_agent/tui/{file.name}", file.read_bytes()
    for library in LIBRARIES:
        yield from _library(importlib.metadata.distribution(library), library)


def _library(distribution: importlib.metadata.Distribution, name: str) -> Iterator[File]:
    """A library's Python files, without those that stay behind, and its licences."""
    top = Path(str(distribution.locate_file("")))
    module = top / f"{name}.py"
    for file in [module] if module.exists() else (top / name).rglob("*.py"):
        place = file.relative_to(top).as_posix()
        if not _LEFT_OUT.match(place):
            yield place, file.read_bytes()
    for listed in distribution.files or ():
        if ".dist-info/" in str(listed) and _LICENCE.fullmatch(listed.name):
            yield f"LICENSES/{name}-{listed.name}", listed.read_binary()


def _own() -> list[Path]:
    folder = Path(__file__).parent / "tui"
    return [file for file in folder.iterdir() if file.suffix in (".py", ".tcss")]


def _oldest_python() -> str:
    """The oldest minor version of Python 3 that all libraries take."""
    wanted = [importlib.metadata.metadata(name)["Requires-Python"] or "" for name in LIBRARIES]
    minors = [int(minor) for text in wanted for minor in re.findall(r">=?\s*3\.(\d+)", text)]
    return f"3.{max([9, *minors])}"


def _key() -> str:
    """Changes with what is packed: with the libraries' own lists of hashes, and with our files."""
    digest = hashlib.sha256()
    for library in LIBRARIES:
        installed = importlib.metadata.distribution(library)
        digest.update(f"{installed.version} {installed.read_text('RECORD')}".encode())
    for file in sorted([*_own(), Path(__file__)]):
        digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:16]
