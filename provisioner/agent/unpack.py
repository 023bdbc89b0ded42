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

NAME = "b9agent-tui"
ROOTS = Path("/run", NAME)
_INSTEAD = "use `b9agent status`, or `b9agent run` for the agent itself"


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
    try:
        home = _home()
        folder = _kept(packed, home) if home else _unpacked(packed, Path(tempfile.gettempdir()))
    except OSError as problem:
        reason = problem.strerror or str(problem)
        raise Unusable(f"no terminal UI: it can't be unpacked: {reason}; {_INSTEAD}") from None
    sys.path.insert(0, str(folder))
    provisioner.agent.__path__.append(str(folder / "provisioner_agent"))
    try:
        yield
    finally:
        if not home:
            shutil.rmtree(folder, ignore_errors=True)


def _kept(packed: bytes, home: Path) -> Path:
    """The folder with the archive's files that an earlier start left in `home`, or a new one."""
    folder = home / hashlib.sha256(packed).hexdigest()[:16]
    if folder.is_dir():
        return folder
    draft = _unpacked(packed, home)
    for old in home.iterdir():
        if not old.name.startswith("."):
            shutil.rmtree(old, ignore_errors=True)
    try:
        draft.rename(folder)
    except OSError:  # another one was faster
        shutil.rmtree(draft, ignore_errors=True)
    return folder


def _unpacked(packed: bytes, place: Path) -> Path:
    """A new folder in `place`, of this user alone, with the archive's files."""
    import bz2  # not where they were unpacked before

    with zipfile.ZipFile(io.BytesIO(bz2.decompress(packed))) as archive:
        _check_python(archive.read("PYTHON").decode())
        folder = Path(tempfile.mkdtemp(prefix=".b9agent-tui-", dir=place))
        try:
            archive.extractall(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _check_python(wanted: str) -> None:
    if sys.version_info < tuple(map(int, wanted.split("."))):
        own = f"{sys.version_info[0]}.{sys.version_info[1]}"
        raise Unusable(f"the terminal UI needs Python {wanted}, and this is {own}: {_INSTEAD}")


def _home() -> Path | None:
    """A folder that only this user can write to, and that is gone with the next boot."""
    given = os.environ.get("XDG_RUNTIME_DIR")
    if given and _is_own(Path(given), 0o022):
        home = Path(given, NAME)
    elif os.geteuid() == 0:
        home = ROOTS
    else:
        return None
    with contextlib.suppress(OSError):
        home.mkdir(mode=0o700)
    return home if _is_own(home, 0o077) else None


def _is_own(folder: Path, forbidden: int) -> bool:
    """Whether it is this user's, without the `forbidden` rights of others."""
    try:
        found = folder.lstat()
    except OSError:
        return False
    mine = found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode)
    return mine and not found.st_mode & forbidden
