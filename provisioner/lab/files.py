"""What is written into a new host, and the SSH keys of the lab."""

from __future__ import annotations

import os
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.lab.machine import command, write_file
from provisioner.lab.rootfs import LOGIN

if TYPE_CHECKING:
    from provisioner.lab.host import Host

# 10-, because Debian's own 80-container-host0.network wins over names that sort after it.
_NETWORK = """\
[Match]
Name=host0

[Network]
Address={address}/24
Gateway={gateway}
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
# A host whose own name does not resolve makes sudo wait for a name server.
_HOSTS = "127.0.0.1 localhost\n127.0.1.1 {name}\n::1 localhost\n"


def make_key(path: Path, comment: str) -> None:
    """Make an ed25519 key pair, unless it is there."""
    public = path.with_name(f"{path.name}.pub")
    if path.exists() and public.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.unlink(missing_ok=True)
    command(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", half])
    half.with_name(f"{half.name}.pub").replace(public)
    half.replace(path)


def public_key(path: Path) -> str:
    """The public half of a key pair, as `ssh-ed25519 AAAA…`, without its comment."""
    words = path.with_name(f"{path.name}.pub").read_text().split()
    return " ".join(words[:2])


def write_identity(host: Host) -> None:
    """Give a fresh root its name, address, machine id, host key and login key."""
    _write(host.path("/etc/hostname"), f"{host.name}\n")
    _write(host.path("/etc/hosts"), _HOSTS.format(name=host.name))
    # No name server is reachable: with an empty list a lookup fails at once.
    _write(host.path("/etc/resolv.conf"), "")
    _write(host.path("/etc/machine-id"), f"{uuid.uuid4().hex}\n", 0o444)
    network = _NETWORK.format(address=host.address, gateway=host.network.controller)
    _write(host.path("/etc/systemd/network/10-lab.network"), network)
    _copy_host_key(host)
    _authorize(host)


def _copy_host_key(host: Host) -> None:
    key = host.directory / "ssh_host_ed25519_key"
    make_key(key, host.name)
    for name in (key.name, f"{key.name}.pub"):
        shutil.copy2(host.directory / name, host.path(f"/etc/ssh/{name}"))


def _authorize(host: Host) -> None:
    home = host.path(f"/home/{LOGIN}")
    owner = home.stat()
    ssh = home / ".ssh"
    ssh.mkdir(mode=0o700)
    _write(ssh / "authorized_keys", f"{host.authorized_key}\n", 0o600)
    for path in (ssh, ssh / "authorized_keys"):
        os.chown(path, owner.st_uid, owner.st_gid)


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.unlink(missing_ok=True)
    write_file(path, text, mode)
