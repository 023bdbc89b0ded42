"""ansible-core and the collections of the corpus, installed once into the cache."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from provisioner.lab.machine import locked, remove_tree
from provisioner.paths import cache_dir

VERSION = "2.19.14"
# The package that carries the collections; its own Ansible is the same release.
COLLECTIONS_VERSION = "12.3.0"
COLLECTIONS = ("ansible/posix", "community/general")
MIN_PYTHON = (3, 11)
_INSTALL_SECONDS = 600.0


def why_not() -> str | None:
    """What keeps ansible-core from running on this machine."""
    if sys.version_info < MIN_PYTHON:
        return f"ansible-core {VERSION} needs Python 3.11 or newer"
    return None


def ensure() -> Path:
    """The folder with `venv` and `collections`, installed when the cache does not hold it."""
    folder = cache_dir() / "oracle" / f"ansible-{VERSION}-{COLLECTIONS_VERSION}"
    installed = folder / "installed"
    with locked(folder.parent / "install.lock", seconds=_INSTALL_SECONDS):
        if not installed.exists():
            remove_tree(folder)
            _install(folder)
            installed.touch()
    return folder


def _install(folder: Path) -> None:
    venv = folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [str(venv / "bin" / "pip"), "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", f"ansible-core=={VERSION}"], check=True)
    with tempfile.TemporaryDirectory(dir=folder) as downloads:
        package = f"ansible=={COLLECTIONS_VERSION}"
        subprocess.run([*pip, "download", "--no-deps", "--dest", downloads, package], check=True)
        [wheel] = Path(downloads).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            prefixes = tuple(f"ansible_collections/{name}/" for name in COLLECTIONS)
            members = [name for name in archive.namelist() if name.startswith(prefixes)]
            archive.extractall(folder / "collections", members)
