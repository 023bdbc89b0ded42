"""Which host keys are believed: pinned ones, known ones, or, when asked for, new ones."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import paramiko

SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")


class UntrustedHostKey(paramiko.SSHException):
    """The host showed a key that nothing vouches for."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def fingerprint(key: paramiko.PKey) -> str:
    """OpenSSH's form: `SHA256:` and unpadded base64."""
    digest = hashlib.sha256(key.asbytes()).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


class Pinned(paramiko.MissingHostKeyPolicy):
    """Believes just one fingerprint."""

    def __init__(self, wanted: str) -> None:
        self.wanted = wanted

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        found = fingerprint(key)
        if found != self.wanted:
            raise UntrustedHostKey(
                f"host key {found} ({key.get_name()}) is not the pinned {self.wanted}",
                "if the host was reinstalled, check the new fingerprint on its console and "
                "correct host_key in the inventory; otherwise somebody may be in between",
            )


class Strict(paramiko.MissingHostKeyPolicy):
    """Believes only what known_hosts or the inventory holds."""

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        found = fingerprint(key)
        raise UntrustedHostKey(
            f"unknown host key {found} ({key.get_name()})",
            f"compare it with the host's console, then set host_key: {found} in the inventory, "
            "add it to known_hosts, or trust new hosts with --host-keys accept-new",
        )


class AcceptNew(paramiko.MissingHostKeyPolicy):
    """Believes a host that is seen for the first time, and remembers it in known_hosts."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        self.file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")


def trust(
    client: paramiko.SSHClient, name: str, pinned: str | None, mode: str, files: list[Path]
) -> None:
    """Set `client` up to believe a host as the inventory and `mode` (strict, accept-new) say.

    `name` is the host as known_hosts writes it; `pinned` a fingerprint or a public key line;
    `files` the user's known_hosts files.
    """
    if pinned and not pinned.startswith("SHA256:"):
        key_type, encoded = pinned.split()[:2]
        entry = paramiko.hostkeys.HostKeyEntry.from_line(f"{name} {key_type} {encoded}")
        if entry is None or entry.key is None:
            raise UntrustedHostKey(
                "host_key in the inventory is no public key", "give the line of the .pub file"
            )
        client.get_host_keys().add(name, key_type, entry.key)
        client.set_missing_host_key_policy(Strict())
        return
    if pinned:
        client.set_missing_host_key_policy(Pinned(pinned))
        return
    for file in [SYSTEM_FILE, *files]:
        if file.is_file():
            client.load_system_host_keys(str(file))
    client.set_missing_host_key_policy(AcceptNew(files[0]) if mode == "accept-new" else Strict())
