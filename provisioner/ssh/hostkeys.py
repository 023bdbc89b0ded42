"""Which host keys are believed: pinned ones, known ones, signed ones, or, when asked for, new ones.

paramiko's own lists of known hosts stay empty, so that it leaves every key to the `Judge`.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from provisioner.ssh import hostcerts, knownhosts

SYSTEM_FILE = Path("/etc/ssh/ssh_known_hosts")
STRICT, ACCEPT_NEW = "strict", "accept-new"
KNOWN, NEW, CHANGED, REVOKED = "known", "new", "CHANGED", "REVOKED"
FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)
_ALL = tuple(name for family in FAMILIES for name in family)
_SIGNED = tuple(f"{name}-cert-v01@openssh.com" for name in _ALL)


class UntrustedHostKey(paramiko.SSHException):
    """The host showed a key that nothing vouches for."""

    def __init__(self, message: str, advice: str) -> None:
        super().__init__(message)
        self.advice = advice


def fingerprint_of(blob: bytes) -> str:
    """A public key's, in OpenSSH's form: `SHA256:` and unpadded base64."""
    digest = hashlib.sha256(blob).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def fingerprint(key: paramiko.PKey) -> str:
    """That of the key alone, also where it is signed."""
    return fingerprint_of(key.asbytes())


@dataclass(frozen=True)
class Place:
    """A host as files of known hosts name it, and the user's files, of which the first is written.

    `alias` is the HostKeyAlias of ssh_config, under which its keys are known, if it has one.
    """

    host: str
    port: int
    files: tuple[Path, ...]
    hashed: bool = False
    alias: str | None = None

    @property
    def name(self) -> str:
        """Under which its keys are kept."""
        return self.alias or knownhosts.name_of(self.host, self.port)

    def entries(self) -> list[knownhosts.Entry]:
        """What the files say of it. Authorities and revocations may be of a host whatever its port
        is."""
        host = self.alias or self.host
        return [
            each
            for each in knownhosts.read((SYSTEM_FILE, *self.files))
            if each.fits(self.name) or (each.marker and each.fits(host))
        ]


@dataclass(frozen=True)
class Verdict:
    """What is known of a host's key; `old` are the fingerprints of those that it should have."""

    state: str
    why: str = ""
    old: tuple[str, ...] = ()


class Judge(paramiko.MissingHostKeyPolicy):
    """Believes a host as the inventory, the files of known hosts and `mode` say.

    `pinned` is a fingerprint or a public key line.
    """

    def __init__(self, place: Place, pinned: str | None, mode: str = STRICT) -> None:
        self.place, self.pinned, self.mode = place, pinned, mode

    def missing_host_key(self, client: Any, hostname: str, key: paramiko.PKey) -> None:
        """What paramiko asks of each key. Raises UntrustedHostKey."""
        verdict = self.verdict(key)
        if verdict.state == NEW and self.mode == ACCEPT_NEW:
            self.remember([key])
        elif verdict.state != KNOWN:
            raise self._refusal(key, verdict)

    def verdict(self, key: paramiko.PKey) -> Verdict:
        """What to think of a key that the host has proven to hold."""
        entries = self.place.entries()
        revoked = {each.blob for each in entries if each.marker == knownhosts.REVOKED}
        blob = key.asbytes()
        if blob in revoked:
            return Verdict(REVOKED)
        if self.pinned:
            wanted = _pinned_fingerprint(self.pinned)
            return Verdict(KNOWN if fingerprint(key) == wanted else CHANGED, old=(wanted,))
        why = ""
        if key.public_blob is not None:
            try:
                self._by_authority(key, entries, revoked)
                return Verdict(KNOWN, "signed")
            except hostcerts.BadCertificate as error:
                why = str(error)
        known = [each for each in entries if not each.marker]
        if any(each.blob == blob for each in known):
            return Verdict(KNOWN)
        return Verdict(CHANGED if known else NEW, why, tuple(map(_of_entry, known)))

    def _by_authority(
        self, key: paramiko.PKey, entries: Sequence[knownhosts.Entry], revoked: set[bytes]
    ) -> None:
        if hostcerts.authority_of(key) in revoked:
            raise hostcerts.BadCertificate("its certificate is of an authority that is revoked")
        authorities = [each.blob for each in entries if each.marker == knownhosts.AUTHORITY]
        hostcerts.verify(key, self.place.alias or self.place.host, authorities)

    def remember(self, keys: Sequence[paramiko.PKey], instead: bool = False) -> None:
        """Write the host's keys into the user's file; `instead` of those that are there."""
        place = self.place
        lines = [
            knownhosts.line_of(place.name, key.get_name(), key.asbytes(), place.hashed)
            for key in keys
        ]
        if instead:
            for file in place.files:
                knownhosts.replace(file, place.name, lines if file == place.files[0] else [])
        else:
            knownhosts.add(place.files[0], lines)

    def algorithms(self) -> tuple[str, ...]:
        """Of which types a key is asked for: first of those by which the host is known."""
        if self.pinned:
            kinds = [] if self.pinned.startswith("SHA256:") else [self.pinned.split()[0]]
            return _first(kinds, _ALL)
        entries = self.place.entries()
        plain = _first([each.kind for each in entries if not each.marker], _ALL)
        if not any(each.marker == knownhosts.AUTHORITY for each in entries):
            return plain
        return (*_SIGNED, *plain)

    def _refusal(self, key: paramiko.PKey, verdict: Verdict) -> UntrustedHostKey:
        found, name = f"{fingerprint(key)} ({key.get_name()})", self.place.name
        if verdict.state == REVOKED:
            return UntrustedHostKey(
                f"the host key {found} of {name} is revoked in known_hosts",
                "somebody else may have it: give the host a new key",
            )
        if verdict.state == NEW:
            because = f": {verdict.why}" if verdict.why else ""
            return UntrustedHostKey(
                f"unknown host key {found} of {name}{because}",
                f"compare it with the host's console, then store it with `b9prov trust`, set "
                f"host_key: {fingerprint(key)} in the inventory, or trust new hosts with "
                "--host-keys accept-new",
            )
        old = " or ".join(verdict.old)
        if self.pinned:
            return UntrustedHostKey(
                f"host key {found} of {name} is not the pinned {old}",
                "if the host was reinstalled, check the new fingerprint on its console and "
                "correct host_key in the inventory; otherwise somebody may be in between",
            )
        return UntrustedHostKey(
            f"host key {found} of {name} is not the known {old}",
            "if the host was reinstalled, check its new key on its console and replace the old one "
            "in known_hosts with `b9prov trust --replace`; otherwise somebody may be in between",
        )


def _of_entry(entry: knownhosts.Entry) -> str:
    return fingerprint_of(entry.blob)


def _pinned_fingerprint(pinned: str) -> str:
    if pinned.startswith("SHA256:"):
        return pinned.rstrip("=")
    entries = knownhosts.parse(f"- {pinned}")
    if not entries:
        raise UntrustedHostKey(
            "host_key in the inventory is no public key", "give the line of the .pub file"
        )
    return fingerprint_of(entries[0].blob)


def _first(kinds: Sequence[str], algorithms: Sequence[str]) -> tuple[str, ...]:
    """`algorithms`, those of keys of these types at the front."""
    wanted = {kind.removeprefix("ssh-") if kind == "ssh-rsa" else kind for kind in kinds}
    known = [each for each in algorithms if each in wanted or each.split("-")[0] in wanted]
    return (*known, *(each for each in algorithms if each not in known))
