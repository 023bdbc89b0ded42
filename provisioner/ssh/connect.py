"""Opens Fabric connections, and says in plain words why one can't be opened."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import NoValidConnectionsError

from provisioner.ssh import hostkeys

# what paramiko logs, tracebacks and all, comes back as errors with a reason
logging.getLogger("paramiko").addHandler(logging.NullHandler())

BANNER_TIMEOUT = 20.0  # seconds
AUTH_TIMEOUT = 30.0
LOOK_UP = 1.0  # seconds
KEY_FAMILIES = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256", "ssh-rsa"),
)


class Target(Protocol):
    """What is needed to reach a host; the inventory's hosts are such."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def user(self) -> str | None: ...
    @property
    def identity_file(self) -> str | None: ...
    @property
    def host_key(self) -> str | None: ...
    @property
    def jump(self) -> str | None: ...
    @property
    def connect_timeout(self) -> float: ...
    @property
    def become_password(self) -> str | None: ...


@dataclass
class Unreachable(Exception):
    """No conversation with a host: why, and what to try."""

    reason: str
    advice: str

    def __str__(self) -> str:
        return self.reason


def connect(target: Target, host_keys: str = "strict") -> Connection:
    """An open connection whose host key was verified. Raises Unreachable.

    `host_keys`: `strict`, or `accept-new` to believe and remember hosts not seen before.
    """
    pinned_fingerprint = bool(target.host_key and target.host_key.startswith("SHA256:"))
    families = KEY_FAMILIES if pinned_fingerprint else ((),)
    last: Unreachable | None = None
    # A fingerprint doesn't say of which type its key is: ask for one type after the other.
    for family in families:
        connection = _connection(target, family)
        try:
            _trust(connection, target, host_keys)
            connection.open()
            _watch(connection)
            return connection
        except hostkeys.UntrustedHostKey as error:
            connection.close()
            last = last or Unreachable(str(error), error.advice)
        except paramiko.ssh_exception.IncompatiblePeer:
            connection.close()
        except Exception as error:
            connection.close()
            raise _explain(error, target) from None
    raise last or Unreachable("no common host key type", "pin a key of a type that sshd offers")


def _connection(target: Target, family: tuple[str, ...]) -> Connection:
    arguments: dict[str, Any] = {
        "banner_timeout": BANNER_TIMEOUT,
        "auth_timeout": AUTH_TIMEOUT,
        "transport_factory": _transport,
    }
    if target.identity_file:
        arguments["key_filename"] = str(Path(target.identity_file).expanduser())
        arguments["look_for_keys"] = False
        arguments["allow_agent"] = False
    if family:
        others = [name for names in KEY_FAMILIES if names != family for name in names]
        arguments["disabled_algorithms"] = {"keys": others}
    return _Connection(
        target.address,
        user=target.user,
        port=target.port,
        gateway=_jump(target),
        config=_config(),
        connect_timeout=target.connect_timeout,
        connect_kwargs=arguments,
    )


def _transport(sock: Any, **options: Any) -> paramiko.Transport:
    """A transport that prefers AES-GCM: without it paramiko compares a MAC per packet in Python."""
    if isinstance(sock, socket.socket):
        # else the handshake's small packets wait 40 ms each for delayed acknowledgements
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda name: "gcm" not in name)
    return transport


class _Connection(Connection):  # type: ignore[misc]
    """A connection that only reads its configuration: connections made side by side share it.

    Fabric takes an attribute that its class does not declare for a setting to be changed.
    """

    inline_ssh_env = None


@functools.lru_cache(maxsize=1)
def _config() -> Config:
    """Fabric's and OpenSSH's configuration, read once for all hosts."""
    return Config()


def _jump(target: Target) -> Connection | None:
    """The chain of jump hosts, verified against known_hosts; None leaves it to ssh_config."""
    jump = None
    for part in (target.jump or "").split(","):
        if part.strip():
            jump = Connection(part.strip(), gateway=jump, connect_timeout=target.connect_timeout)
            hostkeys.trust(jump.client, _known_name(jump), None, "strict", _known_hosts_files(jump))
    return jump


def _trust(connection: Connection, target: Target, mode: str) -> None:
    hostkeys.trust(
        connection.client,
        _known_name(connection),
        target.host_key,
        mode,
        _known_hosts_files(connection),
    )


def _known_name(connection: Connection) -> str:
    host, port = connection.host, connection.port
    return host if port == 22 else f"[{host}]:{port}"


def _known_hosts_files(connection: Connection) -> list[Path]:
    named = str(connection.ssh_config.get("userknownhostsfile", "~/.ssh/known_hosts")).split()
    return [Path(name).expanduser() for name in named]


def _watch(connection: Connection) -> None:
    """Have the kernel give up a dead connection in half a minute rather than a quarter hour."""
    transport = connection.transport
    transport.set_keepalive(15)
    sock = transport.sock
    if not isinstance(sock, socket.socket):
        return
    # paramiko would look up ten times a second, whether it was closed: much for a fleet
    sock.settimeout(LOOK_UP)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 30_000)


def hang_up(connection: Connection) -> None:
    """Close the connection, and have the thread that reads from it notice at once."""
    transport = connection.client.get_transport()
    if transport is not None and isinstance(transport.sock, socket.socket):
        with contextlib.suppress(OSError):
            transport.sock.shutdown(socket.SHUT_RDWR)
    connection.client.close()


def _explain(error: Exception, target: Target) -> Unreachable:
    place = f"{target.address}:{target.port}"
    who = f"{target.user or 'the login user'}@{place}"
    for kind, reason, advice in _explanations(who, place, target):
        if isinstance(error, kind):
            return Unreachable(reason.replace("{error}", _short(error)), advice)
    return Unreachable(
        f"SSH to {who} failed: {type(error).__name__}: {_short(error)}",
        f"try: ssh -p {target.port} {target.address}",
    )


def _explanations(
    who: str, place: str, target: Target
) -> Iterator[tuple[type[Exception] | tuple[type[Exception], ...], str, str]]:
    key = target.identity_file or "the agent or the default keys"
    yield (
        paramiko.BadHostKeyException,
        "the host key of " + place + " is not the known one: {error}",
        "if the host was reinstalled, check its new key on its console and replace the old one "
        "in known_hosts or host_key; otherwise somebody may be in between",
    )
    yield (
        paramiko.PasswordRequiredException,
        f"the private key {key} is encrypted",
        "load it into ssh-agent (ssh-add) or give another identity_file",
    )
    yield (
        paramiko.AuthenticationException,
        f"{who} refused the key ({key})",
        "check user and identity_file, and that the key is in the host's authorized_keys",
    )
    yield (
        socket.gaierror,
        f"the name {target.address} does not resolve",
        "check the address in the inventory, or DNS",
    )
    yield (
        NoValidConnectionsError,
        f"nothing answers at {place}: {{error}}",
        "check that the host is up, that sshd listens there, and the firewall",
    )
    yield (
        (TimeoutError, socket.timeout),
        f"no answer from {place} within {target.connect_timeout:g} s",
        "check the address, the route and the firewall, or raise connect_timeout",
    )
    yield (
        FileNotFoundError,
        f"identity_file {target.identity_file} does not exist",
        "correct identity_file in the inventory",
    )
    yield (
        OSError,
        f"no connection to {place}: {{error}}",
        "check that the host is up and the network between",
    )


def _short(error: Exception) -> str:
    if isinstance(error, NoValidConnectionsError):
        # its own text says only that no address took the connection, not why
        error = next(iter(error.errors.values()))
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
