"""Makes the terminal UI importable: from the archive that the agent is, or where it is installed.

It is unpacked where nobody else can write, and kept until the next boot, for Python then keeps it
compiled: the second start takes a third of the first.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import pkgutil
import shutil
import stat
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import provisioner.agent

ROOTS = Path("/run/b9agent-tui")


class Unusable(Exception):
    """The terminal UI does not work here; the text says why, and what does."""


@contextlib.contextmanager
def importable() -> Iterator[None]:
    """`provisioner.agent.tui` and what it needs can be imported. Raises Unusable."""
    try:
        packed = pkgutil.get_data("provisioner.agent", "tui.zip.bz2")
    except OSError:
        packed = None
    if packed is None:  # a checkout, whose libraries are installed beside it
        yield
        return
    home = _home()
    try:
        _use(_unpacked(packed, home or Path(tempfile.gettempdir()), bool(home)))
        yield
    finally:
        if not home and _temporary:
            shutil.rmtree(_temporary.pop(), ignore_errors=True)


_temporary: list[Path] = []


def _use(folder: Path) -> None:
    sys.path.insert(0, str(folder))
    provisioner.agent.__path__.append(str(folder / "provisioner_agent"))


def _unpacked(packed: bytes, home: Path, kept: bool) -> Path:
    """The folder with the archive's files."""
    folder = home / hashlib.sha256(packed).hexdigest()[:16]
    if kept and folder.is_dir():
        return folder
    import bz2  # where the archive was unpacked before, it is not needed

    draft = Path(tempfile.mkdtemp(prefix=".b9agent-tui-", dir=home))
    with zipfile.ZipFile(io.BytesIO(bz2.decompress(packed))) as archive:
        wanted = archive.read("PYTHON").decode()
        if sys.version_info < tuple(map(int, wanted.split("."))):
            shutil.rmtree(draft, ignore_errors=True)
            raise Unusable(
                f"the terminal UI needs Python {wanted}, and this is "
                f"{sys.version_info[0]}.{sys.version_info[1]}: use b9agent status"
            )
        archive.extractall(draft)
    if not kept:
        _temporary.append(draft)
        return draft
    for old in home.iterdir():
        if old != draft and not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    try:
        draft.rename(folder)
    except OSError:  # another one was faster
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _home() -> Path | None:
    """A folder that only this user can write to, and that is gone with the next boot."""
    if os.geteuid() == 0:
        home = ROOTS
    elif os.environ.get("XDG_RUNTIME_DIR"):
        home = Path(os.environ["XDG_RUNTIME_DIR"]) / "b9agent-tui"
    else:
        return None
    try:
        home.mkdir(mode=0o700, exist_ok=True)
        found = home.lstat()
    except OSError:
        return None
    ours = found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode)
    return home if ours and not found.st_mode & 0o077 else None
