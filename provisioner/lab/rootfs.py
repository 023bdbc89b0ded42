"""The Debian root file system that every lab host starts from."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

from provisioner import paths
from provisioner.lab.machine import LabError, command, locked, remove_tree, write_file

SUITE = "bookworm"
LOGIN = "admin"
PACKAGES = (
    "systemd",
    "systemd-sysv",
    "dbus",
    "openssh-server",
    "openssh-client",
    "sudo",
    "python3",
    "iproute2",
    "nftables",
    "ca-certificates",
    "procps",
    "iputils-ping",
    "curl",
    "iperf3",
)
_UNREAD = ("doc", "man", "info", "locale")
# When we are killed, all processes of the build die with us, and their mounts go with them.
_CONFINED = (
    *("setpriv", "--pdeathsig=KILL"),
    *("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"),
)
_BUILD_SECONDS = 1800.0

# `$1` is the new root. Host keys go because every host gets its own; apt's proxy because it is
# the build machine's; console-getty and the timers because nothing in a lab wants them.
_CUSTOMIZE = f"""
set -eu
rm -f "$1"/etc/ssh/ssh_host_* "$1"/etc/apt/apt.conf.d/99mmdebstrap
chroot "$1" useradd --create-home --shell /bin/bash {LOGIN}
echo '{LOGIN} ALL=(ALL) NOPASSWD: ALL' > "$1/etc/sudoers.d/90-{LOGIN}"
chmod 0440 "$1/etc/sudoers.d/90-{LOGIN}"
echo 'LANG=C.UTF-8' > "$1/etc/default/locale"
mkdir -p "$1/etc/systemd/journald.conf.d"
printf '[Journal]\\nSystemMaxUse=16M\\n' > "$1/etc/systemd/journald.conf.d/10-lab.conf"
printf 'PasswordAuthentication no\\nUseDNS no\\n' > "$1/etc/ssh/sshd_config.d/10-lab.conf"
chroot "$1" systemctl enable --quiet ssh systemd-networkd
chroot "$1" systemctl mask --quiet \\
    console-getty.service apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer
"""


def ensure_rootfs(progress: Callable[[str], None]) -> Path:
    """The root file system of the current recipe, built when the cache does not hold it."""
    directory = _directory()
    if directory.is_dir():
        return directory
    with locked(directory.parent / "rootfs.lock", seconds=_BUILD_SECONDS):
        if not directory.is_dir():
            progress(f"building the Debian {SUITE} root file system (once, a minute or two)")
            _build(directory)
    return directory


def remove_unused(used: set[Path]) -> None:
    """Delete the root file systems of earlier recipes that no lab stands on."""
    current = _directory()
    for old in current.parent.glob("rootfs-*"):
        if old.is_dir() and old != current and old not in used and not _being_built(old):
            remove_tree(old)


def _directory() -> Path:
    recipe = json.dumps([SUITE, PACKAGES, _UNREAD, _CUSTOMIZE])
    digest = hashlib.sha256(recipe.encode()).hexdigest()[:12]
    return paths.cache_dir() / "lab" / f"rootfs-{digest}"


def _being_built(directory: Path) -> bool:
    return directory.name.endswith(".half")


def _build(directory: Path) -> None:
    """Build next to the final place and rename, so that a killed build leaves no half root."""
    half = directory.with_name(f"{directory.name}.half")
    remove_tree(half)
    log = directory.with_name("rootfs.log")
    # In a file that only root reads, because a proxy's address may hold a password.
    apt_options = directory.with_name("apt.conf")
    write_file(apt_options, _download_options(), mode=0o600)
    with open(log, "w") as output:
        done = subprocess.run(
            [*_CONFINED, "mmdebstrap", *_options(apt_options), SUITE, str(half), *_sources()],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_BUILD_SECONDS,
        )
    if done.returncode != 0:
        last = log.read_text(errors="replace").strip().splitlines()[-3:]
        raise LabError(f"mmdebstrap failed: {' / '.join(last)}", f"the whole story is in {log}")
    half.chmod(0o755)
    os.sync()
    half.rename(directory)


def _options(apt_options: Path) -> list[str]:
    return [
        "--mode=root",
        "--variant=minbase",
        "--format=directory",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in _UNREAD),
        f"--aptopt={apt_options}",
        f"--customize-hook={_CUSTOMIZE}",
    ]


def _download_options() -> str:
    """This machine's proxy and certificate settings for apt, which mmdebstrap does not read."""
    dump = command(["apt-config", "dump", "Acquire", "--format", '%f "%v";%n', "--no-empty"])
    prefixes = ("Acquire::http::", "Acquire::https::")
    return "".join(f"{line}\n" for line in dump.splitlines() if line.startswith(prefixes))


def _sources() -> list[str]:
    """This machine's own mirrors of the suite; none, hence Debian's, when it has other suites."""
    wanted = {SUITE, f"{SUITE}-updates", f"{SUITE}-security"}
    fields = "$(REPO_URI) $(CODENAME) $(COMPONENT)"
    filters = ("Created-By: Packages", "Origin: Debian", "Component: main")
    listing = command(["apt-get", "indextargets", "--format", fields, *filters])
    targets = sorted({tuple(line.split()) for line in listing.splitlines()})
    lines = [f"deb {uri} {suite} main" for uri, suite, _ in targets if suite in wanted]
    return lines if any(f" {SUITE} main" in line for line in lines) else []
