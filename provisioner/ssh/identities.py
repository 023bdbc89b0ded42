"""With which keys a user logs in: those of the agent, of files, and certificates beside them.

The order and the choice are OpenSSH's, but that an `identity_file` of the inventory stands alone.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import paramiko

from provisioner.ssh import knownhosts

DEFAULT_FILES = ("~/.ssh/id_ed25519", "~/.ssh/id_ecdsa", "~/.ssh/id_rsa")
CERTIFICATE = "-cert-v01@openssh.com"
_unlocked: dict[Path, paramiko.PKey] = {}


@dataclass
class NoKey(Exception):
    """There is no key to log in with, or it does not do: why, and what to try."""

    reason: str
    advice: str

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True)
class Identities:
    """The keys to offer for `user`: those in `files`, in this order.

    `only`: no others that the agent has (IdentitiesOnly). `agent`: whether it is asked at all.
    `wanted`: a file that is not there is an error.
    """

    user: str
    files: tuple[Path, ...]
    certificates: tuple[Path, ...] = ()
    only: bool = False
    agent: bool = True
    wanted: bool = False

    @classmethod
    def of(cls, user: str, identity_file: str | None, config: Mapping[str, Any]) -> Identities:
        """As the inventory and ssh_config say."""
        agent = str(config.get("identityagent", "")).lower() != "none"
        if identity_file:
            return cls(user, (Path(identity_file).expanduser(),), (), True, agent, wanted=True)
        files = config.get("identityfile") or DEFAULT_FILES
        certificates = config.get("certificatefile") or []
        named = [certificates] if isinstance(certificates, str) else certificates
        return cls(
            user,
            tuple(Path(name).expanduser() for name in files),
            tuple(Path(name).expanduser() for name in named),
            str(config.get("identitiesonly", "no")).lower() == "yes",
            agent,
        )

    def authenticate(self, transport: paramiko.Transport) -> list[str]:
        """What paramiko calls to log in. Raises NoKey, AuthenticationException."""
        refused = 0
        for key in self.keys():
            try:
                further = transport.auth_publickey(self.user, key)
            except paramiko.SSHException:  # an agent may also refuse to sign
                refused += 1
                if not transport.is_active():
                    raise
                continue
            if further:
                what = f"the key is accepted, but {' and '.join(further)} is wanted as well"
                raise NoKey(what, "let this user log in by key alone (AuthenticationMethods)")
            return []
        locked = self.locked()
        if locked:
            reason = f"the private key {locked[0]} is encrypted"
            if locked[0] in _unlocked or refused:
                reason += ", and no other is accepted"
            raise NoKey(
                reason,
                "load it into ssh-agent (ssh-add), or run this on a terminal, "
                "where its passphrase is asked for",
            )
        if refused:
            raise paramiko.AuthenticationException("no key was accepted")
        raise NoKey(
            "there is no key to log in with",
            "set identity_file in the inventory, or load a key into ssh-agent (ssh-add)",
        )

    def keys(self) -> Iterator[paramiko.PKey]:
        """Those that can be had without asking. Raises NoKey for a file that is no key."""
        held: tuple[paramiko.AgentKey, ...] = paramiko.Agent().get_keys() if self.agent else ()
        ours = {public for file in self.files if (public := _public(file))}
        first = [key for key in held if key.asbytes() in ours]
        for key in first:
            yield from _with_certificates(key, self._certificates())
        if not self.only:
            yield from (_as_it_is(key) for key in held if key not in first)
        offered = {key.asbytes() for key in held}
        for file in self.files:
            loaded = self._load(file)
            if loaded is not None and loaded.asbytes() not in offered:
                yield from _with_certificates(loaded, self._certificates())

    def locked(self) -> list[Path]:
        """The files for which a passphrase is needed, where there is no other key to offer."""
        if any(True for _ in self.keys()):
            return [file for file in self.files if self.wanted and _is_locked(file)]
        return [file for file in self.files if _is_locked(file)]

    def _load(self, file: Path) -> paramiko.PKey | None:
        try:
            return _load(file)
        except FileNotFoundError:
            if self.wanted:
                raise
        except (OSError, ValueError, paramiko.SSHException) as error:
            if self.wanted:
                what = getattr(error, "strerror", None) or "it is no private key"
                raise NoKey(f"can't use {file}: {what}", "correct identity_file") from None
        return None

    def _certificates(self) -> list[str]:
        beside = [Path(f"{file}-cert.pub") for file in self.files]
        found = []
        for path in (*self.certificates, *beside):
            try:
                found.append(path.read_text("utf-8").strip())
            except (OSError, UnicodeDecodeError):
                continue
        return found


def unlock(file: Path, passphrase: str) -> bool:
    """Whether the passphrase is right. If so, the key is known from now on."""
    try:
        _unlocked[file] = paramiko.PKey.from_path(file, passphrase.encode())  # type: ignore[arg-type]
    except (ValueError, paramiko.SSHException):
        return False
    return True


def _load(file: Path) -> paramiko.PKey | None:
    """A file's key; None when it is encrypted and not unlocked. Raises OSError, ValueError."""
    if file in _unlocked:
        return _unlocked[file]
    return _read(file, file.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _read(file: Path, changed: int) -> paramiko.PKey | None:
    """Once for all hosts of a run, unless it has changed."""
    try:
        return paramiko.PKey.from_path(file)
    except TypeError:  # so says paramiko that it is encrypted
        return None


def _is_locked(file: Path) -> bool:
    try:
        return _load(file) is None
    except (OSError, ValueError, paramiko.SSHException):
        return False


def _public(file: Path) -> bytes | None:
    """The public half of a private key, from the file beside it or its own."""
    try:
        entries = knownhosts.parse(f"- {Path(f'{file}.pub').read_text('utf-8').strip()}")
        if entries:
            return entries[0].blob
    except (OSError, UnicodeDecodeError):
        pass
    try:
        key = _load(file)
    except (OSError, ValueError, paramiko.SSHException):
        return None
    return key.asbytes() if key is not None else None


def _with_certificates(key: paramiko.PKey, lines: list[str]) -> Iterator[paramiko.PKey]:
    """The key with each certificate that is of it, then the key alone."""
    for line in lines:
        certified = _copy(key)
        try:
            certified.load_certificate(line)
            if _key_in(line) == key.asbytes():
                yield certified
        except (ValueError, paramiko.SSHException):
            continue
    yield _copy(key)


def _copy(key: paramiko.PKey) -> paramiko.PKey:
    if isinstance(key, paramiko.AgentKey):  # it can't be copied otherwise
        return _as_it_is(paramiko.AgentKey(key.agent, key.blob, key.comment))
    copied = copy.copy(key)
    copied.public_blob = None
    return copied


def _as_it_is(key: paramiko.AgentKey) -> paramiko.AgentKey:
    """A key of the agent, which for paramiko is without its certificate."""
    if key.name.endswith(CERTIFICATE):
        setattr(key, "public_blob", paramiko.pkey.PublicBlob(key.name, key.blob))  # noqa: B010
    return key


def _key_in(line: str) -> bytes:
    kind, encoded = line.split()[:2]
    blob = knownhosts.parse(f"- {kind} {encoded}")[0].blob
    found: bytes = paramiko.PKey.from_type_string(kind.replace(CERTIFICATE, ""), blob).asbytes()
    return found
