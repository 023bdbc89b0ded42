"""Debian packages for the hosts: what Ansible's modules need there, and some to try apt with."""

from __future__ import annotations

import hashlib
import os
import subprocess
from pathlib import Path

from provisioner.lab.machine import command, locked
from provisioner.paths import cache_dir

NEEDED = ("python3-apt", "cron", "unzip")
REPOSITORY = "/srv/debs"
_SECONDS = 300.0
_CONTROL = """\
Package: {name}
Version: {version}
Architecture: all
Maintainer: Oracle <oracle@localhost>
Section: misc
Priority: optional
{more}Description: does nothing
"""
# name, version, further fields
_OWN = (
    ("oracle-lib", "1.0", ""),
    ("oracle-tool", "1.0", "Depends: oracle-lib\n"),
    ("oracle-tool", "2.0", "Depends: oracle-lib\n"),
    ("oracle-one", "1.0", ""),
    ("oracle-two", "1.0", ""),
    ("oracle-file", "1.0", ""),
)


def ensure_needed(rootfs: Path) -> Path:
    """A folder with the packages that the root file system lacks, downloaded once."""
    folder = cache_dir() / "oracle" / f"debs-{rootfs.name}"
    done = folder / "done"
    with locked(folder.with_suffix(".lock"), seconds=_SECONDS):
        if not done.exists():
            for part in ("lists/partial", "archives/partial"):
                (folder / part).mkdir(parents=True, exist_ok=True)
            apt = ["apt-get", "-qq", *_options(rootfs, folder)]
            command([*apt, "update"], timeout=_SECONDS)
            install = ["install", "--yes", "--download-only", "--no-install-recommends"]
            command([*apt, *install, *NEEDED], timeout=_SECONDS)
            done.touch()
    return folder / "archives"


def _options(rootfs: Path, folder: Path) -> list[str]:
    """apt of this machine, with its proxy, as if it were that of the root file system."""
    settings = {
        "Dir::State::status": rootfs / "var/lib/dpkg/status",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache::archives": folder / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Dir::Etc::sourcelist": rootfs / "etc/apt/sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::Etc::trustedparts": rootfs / "etc/apt/trusted.gpg.d",
        "APT::Sandbox::User": "root",
    }
    return [f"-o{name}={value}" for name, value in settings.items()]


def build_repository(folder: Path) -> None:
    """An apt repository of small packages, with the same bytes each time."""
    folder.mkdir(parents=True)
    index = ""
    for name, version, more in _OWN:
        tree = folder / f"{name}-{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        control = _CONTROL.format(name=name, version=version, more=more)
        (tree / "DEBIAN" / "control").write_text(control)
        (tree / "usr/share/oracle").mkdir(parents=True)
        (tree / "usr/share/oracle" / name).write_text(f"{version}\n")
        deb = folder / f"{name}_{version}_all.deb"
        subprocess.run(
            ["dpkg-deb", "--root-owner-group", "--build", tree, deb],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"},
        )
        digest = hashlib.sha256(deb.read_bytes()).hexdigest()
        index += f"{control}Filename: ./{deb.name}\nSize: {deb.stat().st_size}\n"
        index += f"SHA256: {digest}\n\n"
    (folder / "Packages").write_text(index)
