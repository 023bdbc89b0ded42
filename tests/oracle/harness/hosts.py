"""Makes lab hosts equal: same name, packages and apt repository."""

from __future__ import annotations

import shutil
from pathlib import Path

from harness.packages import REPOSITORY
from provisioner.lab import Host, LabError
from provisioner.lab.rootfs import LOGIN

PLACES = "/srv/oracle"
_STAGED = "/srv/needed"
_SECONDS = 120.0


def prepare(host: Host, name: str, needed: Path, repository: Path) -> None:
    """Make a new host one of the oracle's."""
    host.path("/etc/hostname").write_text(f"{name}\n")
    host.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    run(host, ["hostname", name])
    shutil.copytree(repository, host.path(REPOSITORY))
    host.path("/etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{REPOSITORY} ./\n")
    shutil.copytree(needed, host.path(_STAGED), ignore=shutil.ignore_patterns("partial", "lock"))
    # apt, because dpkg alone stumbles over what must be configured before something else.
    install = f"apt-get -qq -y --no-install-recommends install {_STAGED}/*.deb"
    run(host, ["sh", "-ec", f"export DEBIAN_FRONTEND=noninteractive; {install}; rm -r {_STAGED}"])
    run(host, ["apt-get", "-qq", "update"])


def make_place(host: Host, place: str) -> None:
    """Make the folder of one playbook, which the login user owns."""
    run(host, ["install", "--directory", f"--owner={LOGIN}", f"--group={LOGIN}", place])


def run(host: Host, argv: list[str]) -> str:
    """The output of a command that must go well."""
    done = host.exec(argv, timeout=_SECONDS)
    if done.returncode != 0:
        raise LabError(f"{host.name}: {' '.join(argv)}: {(done.stderr or done.stdout).strip()}")
    return done.stdout
