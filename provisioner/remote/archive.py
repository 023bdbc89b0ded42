"""Unpacks tar and zip archives safely: every file appears complete, none outside the folder."""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import stat
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

KINDS = ("tar", "tar.gz", "tgz", "tar.xz", "tar.zst", "zip")


class BadArchive(Exception):
    """The archive is damaged, lacks what is wanted or wants to write elsewhere."""


@dataclass(frozen=True)
class Entry:
    """One member: `kind` is file, directory, link or hard; `target` is for the latter two."""

    name: str
    kind: str
    mode: int
    size: int
    target: str
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    kind: str,
    folder: Path,
    members: Sequence[str] = (),
    strip: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
    on_folder: Callable[[str], None] = lambda name: None,
) -> dict[str, int]:
    """Unpack into `folder`; returns each file's name there and its size (links: -1).

    `members` are the names wanted, as they are in the archive; without any, all are. `strip`
    leading parts of the names are left out. `on_folder` is told of each folder before it is made.
    """
    wanted = {_clean(name) for name in members}
    seen = set()
    made: dict[str, int] = {}
    total = archive.stat().st_size
    try:
        with open(archive, "rb") as raw:
            for entry in _entries(raw, kind):
                name = _clean(entry.name)
                if wanted and name not in wanted:
                    continue
                seen.add(name)
                parts = PurePosixPath(name).parts[strip:]
                if parts:
                    own = parts if entry.kind == "directory" else parts[:-1]
                    _make_folders(folder, own, on_folder)
                    _place(entry, folder, "/".join(parts), strip, made)
                progress(min(raw.tell(), total), total)
    except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError) as error:
        raise BadArchive(f"cannot unpack {archive.name}: {error}") from None
    if wanted - seen:
        raise BadArchive(f"the archive has no {', '.join(sorted(wanted - seen))}")
    return made


def _entries(raw: IO[bytes], kind: str) -> Iterator[Entry]:
    if kind == "zip":
        with zipfile.ZipFile(raw) as packed:
            for info in packed.infolist():
                yield _zip_entry(packed, info)
        return
    if kind == "tar.zst":
        with _unzstd(raw) as plain, tarfile.open(fileobj=plain, mode="r|") as tar:
            for member in tar:
                yield _tar_entry(tar, member)
        return
    with tarfile.open(fileobj=raw, mode="r:*") as tar:
        for member in tar:
            yield _tar_entry(tar, member)


@contextlib.contextmanager
def _unzstd(raw: IO[bytes]) -> Iterator[IO[bytes]]:
    """What a zstd-compressed file holds, by Python from 3.14 on, else by the program `zstd`."""
    if sys.version_info >= (3, 14):
        with importlib.import_module("compression.zstd").open(raw) as plain:
            yield plain
        return
    if shutil.which("zstd") is None:
        raise BadArchive(
            f"it is packed with zstd, which Python {sys.version_info[0]}.{sys.version_info[1]} "
            "can't read: install zstd (apt-get install -y zstd)"
        )
    argv = ["zstd", "-dcq"]
    with subprocess.Popen(argv, stdin=raw, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as done:
        assert done.stdout and done.stderr
        yield done.stdout
        while done.stdout.read(1 << 20):
            pass  # behind the archive's end there may be padding
        said = done.stderr.read().decode(errors="replace").strip()
    if done.returncode != 0:
        raise BadArchive(f"zstd can't unpack it: {said}")


def _tar_entry(tar: tarfile.TarFile, member: tarfile.TarInfo) -> Entry:
    kinds = (("directory", member.isdir()), ("link", member.issym()), ("hard", member.islnk()))
    kind = next((name for name, is_it in kinds if is_it), "file")
    if kind == "file" and not member.isreg():
        raise BadArchive(f"{member.name} is neither file, folder nor link")

    def content() -> IO[bytes]:
        file = tar.extractfile(member)
        assert file is not None
        return file

    return Entry(member.name, kind, member.mode, member.size, member.linkname, content)


def _zip_entry(packed: zipfile.ZipFile, info: zipfile.ZipInfo) -> Entry:
    mode = info.external_attr >> 16
    target = ""
    kind = "directory" if info.is_dir() else "file"
    if stat.S_ISLNK(mode):
        kind, target = "link", packed.read(info).decode("utf-8", "surrogateescape")
    mode = stat.S_IMODE(mode) or (0o755 if kind == "directory" else 0o644)
    return Entry(info.filename, kind, mode, info.file_size, target, lambda: packed.open(info))


def _clean(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise BadArchive(f"{name} leads out of the folder")
    return str(path)


def _make_folders(folder: Path, parts: Sequence[str], on_folder: Callable[[str], None]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for depth in range(1, len(parts) + 1):
        name = "/".join(parts[:depth])
        if not (folder / name).is_dir():
            on_folder(name)
            (folder / name).mkdir()


def _place(entry: Entry, folder: Path, name: str, strip: int, made: dict[str, int]) -> None:
    target = folder / name
    if entry.kind == "directory":
        return
    if entry.kind == "file":
        with _beside(target) as temporary:
            with entry.open() as content, open(temporary, "wb") as file:
                shutil.copyfileobj(content, file, 1 << 20)
            temporary.chmod(entry.mode & 0o777)
        made[name] = entry.size
        return
    if entry.kind == "hard":
        original = "/".join(PurePosixPath(_clean(entry.target)).parts[strip:])
        if original not in made:
            raise BadArchive(f"{entry.name} is a link to {entry.target}, which isn't unpacked")
        with _beside(target) as temporary:
            temporary.unlink()
            os.link(folder / original, temporary)
        made[name] = made[original]
        return
    inside = os.path.normpath(os.path.join(os.path.dirname(name), entry.target))
    if os.path.isabs(entry.target) or inside.split("/")[0] == "..":
        raise BadArchive(f"{entry.name} is a link that leads out of the folder: {entry.target}")
    with _beside(target) as temporary:
        temporary.unlink()
        temporary.symlink_to(entry.target)
    made[name] = -1


@contextlib.contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary path that takes the place of `target`: a program that runs is no hindrance."""
    descriptor, name = tempfile.mkstemp(prefix=".b9prov.", dir=target.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        temporary.replace(target)
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def sizes(folder: Path, made: dict[str, Any]) -> bool:
    """Whether all that `unpack` made is still there, in its size."""
    for name, size in made.items():
        try:
            found = os.lstat(folder / name)
        except OSError:
            return False
        if found.st_size != size and not (size == -1 and stat.S_ISLNK(found.st_mode)):
            return False
    return True
