"""Files of known host keys, as OpenSSH has them (`man sshd`, "SSH_KNOWN_HOSTS FILE FORMAT")."""

from __future__ import annotations

import base64
import binascii
import functools
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from provisioner import wholefile

SSH_PORT = 22
AUTHORITY, REVOKED = "@cert-authority", "@revoked"
_HASHED = "|1|"


def name_of(host: str, port: int) -> str:
    """A host as the files name it."""
    return host if port == SSH_PORT else f"[{host}]:{port}"


@dataclass(frozen=True)
class Entry:
    """A line: whose key it is (`hosts`, hashed or patterns), and what it is for (`marker`)."""

    marker: str
    hosts: str
    kind: str
    blob: bytes

    def fits(self, name: str) -> bool:
        """Whether the line is about the host of that name."""
        if self.hosts.startswith(_HASHED):
            return _is_hash_of(self.hosts, name)
        patterns = self.hosts.lower().split(",")
        denied = (each[1:] for each in patterns if each.startswith("!"))
        if any(matches(each, name.lower()) for each in denied):
            return False
        return any(matches(each, name.lower()) for each in patterns if each[:1] != "!")


def parse(text: str) -> list[Entry]:
    """The lines that make sense; OpenSSH passes over others as well."""
    return [entry for line in text.splitlines() if (entry := _entry(line))]


def read(files: Iterable[Path]) -> list[Entry]:
    """The lines of all files that are there."""
    found: list[Entry] = []
    for file in files:
        try:
            state = file.stat()
        except OSError:
            continue
        found += _read(file, state.st_mtime_ns, state.st_size, state.st_ino)
    return found


@functools.lru_cache(maxsize=16)
def _read(file: Path, *state: int) -> tuple[Entry, ...]:
    """Once for all hosts of a run, unless it has changed."""
    try:
        return tuple(parse(file.read_text("utf-8", errors="replace")))
    except OSError:
        return ()


def add(file: Path, lines: Iterable[str]) -> None:
    """Write further lines, all at once: others may be writing theirs."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    text = "".join(f"{line}\n" for line in lines).encode()
    with open(
        os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600), "r+b"
    ) as to:
        end = to.seek(0, os.SEEK_END)
        to.seek(max(0, end - 1))
        to.write(b"\n" + text if to.read(1) not in (b"", b"\n") else text)


def replace(file: Path, name: str, lines: Iterable[str]) -> None:
    """Write lines in the place of all plain keys of the host of that name.

    Where a line is of other hosts as well, they keep it. Markers and patterns stay as they are.
    """
    # a link is followed: it may lead to where the user keeps such files
    file = file.resolve()
    before = file.read_text("utf-8", errors="surrogateescape") if file.exists() else ""
    kept = (_without(line, name) for line in before.removesuffix("\n").split("\n"))
    after = [*filter(None, kept), *lines]
    if after or before:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = "".join(f"{line}\n" for line in after)
        wholefile.replace(file, text.encode("utf-8", errors="surrogateescape"), 0o600)


def line_of(name: str, kind: str, blob: bytes, hashed: bool) -> str:
    """The line of a host's key."""
    shown = _hash(name) if hashed else name
    return f"{shown} {kind} {base64.b64encode(blob).decode()}"


def _entry(line: str) -> Entry | None:
    words = line.split(None, 4)
    marker = words.pop(0) if words and words[0].startswith("@") else ""
    if len(words) < 3 or words[0].startswith("#") or marker not in ("", AUTHORITY, REVOKED):
        return None
    hosts, kind, encoded = words[:3]
    try:
        blob = base64.b64decode(encoded, validate=True)
    except binascii.Error:
        return None
    # the key's own bytes begin with the length and name of its type
    return Entry(marker, hosts, kind, blob) if blob[4:].startswith(kind.encode()) else None


def _without(line: str, name: str) -> str | None:
    """The line without that host; None when nothing is left of it."""
    entry = _entry(line)
    if entry is None or entry.marker or not entry.fits(name):
        return line
    if entry.hosts.startswith(_HASHED):
        return None
    others = [each for each in entry.hosts.split(",") if each.lower() != name.lower()]
    if not any(each[0] != "!" for each in others if each):
        return None
    return line.replace(entry.hosts, ",".join(others), 1)


def matches(pattern: str, name: str) -> bool:
    """Whether a pattern with `*` and `?`, and no other wildcards, is of that name."""
    parts = re.split(r"([*?])", pattern)
    wild = {"*": ".*", "?": "."}
    return bool(re.fullmatch("".join(wild.get(each, re.escape(each)) for each in parts), name))


def _hash(name: str, salt: bytes | None = None) -> str:
    salt = salt or os.urandom(20)
    digest = hmac.new(salt, name.lower().encode(), hashlib.sha1).digest()
    return _HASHED + "|".join(base64.b64encode(each).decode() for each in (salt, digest))


def _is_hash_of(hosts: str, name: str) -> bool:
    try:
        salt = base64.b64decode(hosts.split("|")[2], validate=True)
    except (binascii.Error, IndexError):
        return False
    return bool(salt) and hmac.compare_digest(_hash(name, salt).encode(), hosts.encode())
