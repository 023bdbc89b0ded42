"""Makes lab hosts equal: same name, packages and apt repository."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness import caching_python
from harness.packages import REPOSITORY
from provisioner.lab import Host, LabError
from provisioner.lab.rootfs import LOGIN

PLACES = "/srv/oracle"
PYTHON = "/usr/local/bin/caching-python"
_STAGED = "/srv/needed"
_SECONDS = 120.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Inside:
    """The inside of a running host, for many commands: its process 1 is looked up once."""

    def __init__(self, host: Host) -> None:
        leader = host.leader()
        if leader is None:
            raise LabError(f"{host.name} is not running")
        self.host, self.leader = host, leader.pid
        namespaces = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
        self._enter = ["nsenter", f"--target={self.leader}", *namespaces, "--"]
        self._enter += ["env", "-i", "--chdir=/", "HOME=/root", "LANG=C.UTF-8", f"PATH={_PATH}"]

    def output(self, argv: Sequence[str]) -> str:
        """What a command says, whatever its end."""
        done = self._run(argv)
        return done.stdout + done.stderr

    def run(self, argv: Sequence[str]) -> None:
        """Run a command that must go well."""
        done = self._run(argv)
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip()
            raise LabError(f"{self.host.name}: {' '.join(argv)}: {said}")

    def _run(self, argv: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._enter, *argv],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )

    def make_place(self, place: str) -> None:
        """Make the folder of one playbook, which the login user owns."""
        self.run(["install", "--directory", f"--owner={LOGIN}", f"--group={LOGIN}", place])


def prepare(host: Host, name: str, needed: Path, repository: Path) -> None:
    """Make a new host one of the oracle's."""
    inside = Inside(host)
    host.path("/etc/hostname").write_text(f"{name}\n")
    host.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n")
    inside.run(["hostname", name])
    shutil.copytree(repository, host.path(REPOSITORY))
    host.path("/etc/apt/sources.list").write_text(f"deb [trusted=yes] file:{REPOSITORY} ./\n")
    cache = host.path(caching_python.CACHE)
    cache.mkdir()
    cache.chmod(0o1777)
    shutil.copy(Path(caching_python.__file__), host.path(PYTHON))
    host.path(PYTHON).chmod(0o755)
    shutil.copytree(needed, host.path(_STAGED), ignore=shutil.ignore_patterns("partial", "lock"))
    # apt, because dpkg alone stumbles over what must be configured before something else.
    install = f"apt-get -qq -y --no-install-recommends install {_STAGED}/*.deb"
    script = f"export DEBIAN_FRONTEND=noninteractive; {install}; rm -r {_STAGED}"
    inside.run(["sh", "-ec", script])
    inside.run(["apt-get", "-qq", "update"])
