"""Files whose bytes depend on nothing but their content: programs in one zip, tar archives."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

_EPOCH = (1980, 1, 1, 0, 0, 0)
_PACKAGE = Path(__file__).parent / "standins"
_PREFIX = "provisioner/lab/standins/"
Content = bytes | Path


def program(module: str, carried: Mapping[str, Path] | None = None) -> bytes:
    """The lab program `provisioner.lab.standins.MODULE` as one executable zip.

    `carried` are files that travel in it, by their name there.
    """
    sources = {_PREFIX + path.name: path.read_bytes() for path in sorted(_PACKAGE.glob("*.py"))}
    start = f"import sys\nfrom provisioner.lab.standins.{module} import main\nsys.exit(main())\n"
    files: dict[str, Content] = {
        "__main__.py": start.encode(),
        "provisioner/__init__.py": b"",
        "provisioner/lab/__init__.py": b"",
        **sources,
        **(carried or {}),
    }
    return b"#!/usr/bin/python3\n" + _zip(files)


def _zip(files: Mapping[str, Content]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name, _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(entry, _bytes(content), compresslevel=1 if _large(content) else 6)
    return buffer.getvalue()


def tgz(files: Mapping[str, tuple[int, Content]]) -> bytes:
    """A gzipped tar of `path: (mode, content)`, owned by root and without dates."""
    buffer = io.BytesIO()
    level = 1 if any(_large(content) for _, content in files.values()) else 6
    with (
        gzip.GzipFile(
            filename="", fileobj=buffer, mode="wb", compresslevel=level, mtime=0
        ) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as archive,
    ):
        for name, (mode, content) in files.items():
            data = _bytes(content)
            entry = tarfile.TarInfo(name)
            entry.mode, entry.size, entry.uname, entry.gname = mode, len(data), "root", "root"
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def place(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Put a file there in one step, so that no reader sees half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_bytes(data)
    part.chmod(mode)
    part.replace(path)


def sha256(path: Path) -> str:
    """The file's SHA-256 in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _bytes(content: Content) -> bytes:
    return content if isinstance(content, bytes) else content.read_bytes()


def _large(content: Content) -> bool:
    return isinstance(content, Path)
