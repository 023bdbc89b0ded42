"""Opens Fabric connections, and says in plain words why one can't be opened."""

from __future__ import annotations

import contextlib
import functools
import logging
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import NoValidConnectionsError

from provisioner.secrets import Secret
from provisioner.ssh import hostkeys, identities

# what paramiko logs, tracebacks and all, comes back as errors with a reason
logging.getLogger("paramiko").addHandler(logging.NullHandler())

CONNECT_TIMEOUT = 10.0  # seconds, where nothing else is said
BANNER_TIMEOUT = 20.0  # seconds
AUTH_TIMEOUT = 30.0
LOOK_UP = 1.0  # seconds


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
    def become_password(self) -> Secret | None: ...


@dataclass
class Unreachable(Exception):
    """No conversation with a host: why, and what to try."""

    reason: str
    advice: str

    def __str__(self) -> str:
        return self.reason


def connect(target: Target, host_keys: str = hostkeys.STRICT) -> Connection:
    """An open connection whose host key was verified. Raises Unreachable.

    `host_keys`: `strict`, or `accept-new` to believe and remember hosts not seen before.
    """
    pinned_fingerprint = bool(target.host_key and target.host_key.startswith("SHA256:"))
    last: Unreachable | None = None
    # A fingerprint doesn't say of which type its key is: ask for one type after the other.
    for family in hostkeys.FAMILIES if pinned_fingerprint else ((),):
        connection = connection_to(target, host_keys, family)
        try:
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
            raise explain(error, connection, target.identity_file) from None
    raise last or Unreachable("no common host key type", "pin a key of a type that sshd offers")


def connection_to(
    target: Target, host_keys: str = hostkeys.STRICT, algorithms: tuple[str, ...] = ()
) -> VerifiedConnection:
    """A connection that is not yet open, by way of its jump hosts.

    The host is asked for a key of these `algorithms`; of any, when there are none.
    """
    jump = None
    for hop in (target.jump or "").split(","):
        if hop.strip():
            jump = VerifiedConnection(
                hop.strip(), gateway=jump, connect_timeout=target.connect_timeout
            )
    return VerifiedConnection(
        target.address,
        user=target.user,
        port=target.port,
        gateway=jump,  # None leaves it to ssh_config
        connect_timeout=target.connect_timeout,
        identity_file=target.identity_file,
        judge=lambda place: hostkeys.Judge(place, target.host_key, host_keys),
        algorithms=algorithms,
    )


class VerifiedConnection(Connection):  # type: ignore[misc]
    """A connection that is opened only to a host whose key is believed. So are its jump hosts,
    also those of ssh_config; for Fabric's own connections any key would do.

    Its configuration is only read: connections made side by side share it.
    """

    # Fabric takes an attribute that its class does not declare for a setting to be changed.
    inline_ssh_env = None
    judge: hostkeys.Judge
    identities: identities.Identities

    def __init__(
        self,
        host: str,
        identity_file: str | None = None,
        judge: Callable[[hostkeys.Place], hostkeys.Judge] = lambda place: hostkeys.Judge(
            place, None
        ),
        algorithms: tuple[str, ...] = (),
        **settings: Any,
    ) -> None:
        super().__init__(host, config=_config(), **settings)
        self._set(connect_timeout=self.connect_timeout or CONNECT_TIMEOUT)
        self._set(judge=judge(self._place()))
        self.client.set_missing_host_key_policy(self.judge)
        self._set(identities=identities.Identities.of(self.user, identity_file, self.ssh_config))
        self._set(
            connect_kwargs={
                "banner_timeout": BANNER_TIMEOUT,
                "auth_timeout": AUTH_TIMEOUT,
                "transport_factory": functools.partial(
                    transport, algorithms or self.judge.algorithms()
                ),
                "auth_strategy": self.identities,
            }
        )

    def _place(self) -> hostkeys.Place:
        config = self.ssh_config
        named = str(config.get("userknownhostsfile", "~/.ssh/known_hosts")).split()
        return hostkeys.Place(
            self.host,
            self.port,
            tuple(Path(name).expanduser() for name in named),
            str(config.get("hashknownhosts", "no")).lower() == "yes",
            config.get("hostkeyalias"),
        )

    def get_gateway(self) -> VerifiedConnection | str | None:
        """What ssh_config says of the way there: jump hosts, a ProxyCommand, or nothing."""
        command = self.ssh_config.get("proxycommand")
        jump = None
        for hop in str(self.ssh_config.get("proxyjump", "none")).split(","):
            # a pattern in ssh_config may be of the jump host as well
            if hop.strip().lower() == "none" or self.derive_shorthand(hop)["host"] in (
                self.host,
                self.original_host,
            ):
                return command if command and command.lower() != "none" else None
            # the first finds its own way there
            jump = VerifiedConnection(hop.strip(), **({"gateway": jump} if jump else {}))
        return jump

    def open_gateway(self) -> Any:
        """A channel through the jump host. Raises Unreachable when that one can't be reached."""
        try:
            return super().open_gateway()
        except hostkeys.UntrustedHostKey as error:
            raise Unreachable(f"the jump host: {error}", error.advice) from None
        except Exception as error:
            if not isinstance(self.gateway, VerifiedConnection) or self.gateway.is_connected:
                raise
            why = explain(error, self.gateway, None)
            raise Unreachable(f"the jump host: {why.reason}", why.advice) from None


def transport(algorithms: tuple[str, ...], sock: Any, **options: Any) -> paramiko.Transport:
    """A transport that asks for host keys of these algorithms, in this order.

    It prefers AES-GCM: without it paramiko compares a MAC per packet in Python.
    """
    if isinstance(sock, socket.socket):
        # else the handshake's small packets wait 40 ms each for delayed acknowledgements
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    made = _Transport(sock, **options)
    made.preferred_keys = algorithms
    security = made.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda name: "gcm" not in name)
    return made


class _Transport(paramiko.Transport):
    preferred_keys: tuple[str, ...] = ()  # paramiko's would have plain keys go before signed ones


@functools.lru_cache(maxsize=1)
def _config() -> Config:
    """Fabric's and OpenSSH's configuration, read once for all hosts."""
    return Config()


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


def explain(
    error: Exception, connection: VerifiedConnection, identity_file: str | None
) -> Unreachable:
    """Why a connection could not be opened, and what to try."""
    if isinstance(error, (Unreachable, identities.NoKey)):
        return Unreachable(error.reason, error.advice)
    place = f"{connection.host}:{connection.port}"
    who = f"{connection.user}@{place}"
    for kind, reason, advice in _explanations(who, place, connection, identity_file):
        if isinstance(error, kind):
            return Unreachable(reason.replace("{error}", _short(error)), advice)
    return Unreachable(
        f"SSH to {who} failed: {type(error).__name__}: {_short(error)}",
        f"try: ssh -p {connection.port} {connection.host}",
    )


def _explanations(
    who: str, place: str, connection: VerifiedConnection, identity_file: str | None
) -> Iterator[tuple[type[Exception] | tuple[type[Exception], ...], str, str]]:
    key = identity_file or "the agent or the default keys"
    yield (
        paramiko.AuthenticationException,
        f"{who} refused the key ({key})",
        "check user and identity_file, and that the key is in the host's authorized_keys",
    )
    yield (
        socket.gaierror,
        f"the name {connection.host} does not resolve",
        "check the address in the inventory, or DNS",
    )
    yield (
        (NoValidConnectionsError, ConnectionRefusedError),
        f"nothing answers at {place}: {{error}}",
        "check that the host is up, that sshd listens there, and the firewall",
    )
    yield (
        (TimeoutError, socket.timeout),
        f"no answer from {place} within {connection.connect_timeout:g} s",
        "check the address, the route and the firewall, or raise connect_timeout",
    )
    yield (
        FileNotFoundError,
        f"identity_file {identity_file} does not exist",
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
