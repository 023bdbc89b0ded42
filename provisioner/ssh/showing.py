"""The host key that a host shows, without logging in to it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paramiko

from provisioner.ssh import connect, hostkeys
from provisioner.ssh.connect import Target, Unreachable, VerifiedConnection

Make = Callable[[tuple[str, ...]], VerifiedConnection]


@dataclass(frozen=True)
class Stop:
    """A host, or a jump host on the way to one.

    `depth` is the number of jump hosts before it, `make` gives a connection that asks for a key of
    these algorithms, `pin` is what the inventory says of its key.
    """

    name: str
    depth: int
    make: Make
    judge: hostkeys.Judge
    pin: str | None = None


@dataclass(frozen=True)
class Shown:
    """A key that was proven to be the host's own, and what is known of it."""

    key: paramiko.PKey
    verdict: hostkeys.Verdict


def stops(target: Target) -> list[Stop]:
    """The host and the jump hosts on the way there, the first of them first."""
    connection = connect.connection_to(target)
    hops: list[VerifiedConnection] = []
    hop = connection.gateway
    while isinstance(hop, VerifiedConnection):
        hops.insert(0, hop)
        hop = hop.gateway
    own = Stop(
        target.name,
        len(hops),
        lambda algorithms: connect.connection_to(target, algorithms=algorithms),
        connection.judge,
        target.host_key,
    )
    return [*(_hop(hop, depth) for depth, hop in enumerate(hops)), own]


def _hop(hop: VerifiedConnection, depth: int) -> Stop:
    # there is one key to see of it: a pin would have to be in the inventory
    return Stop(hop.judge.place.name, depth, lambda algorithms: hop, hop.judge)


def show(stop: Stop, fingerprint: str | None = None) -> Shown:
    """The key that a login would be shown; of several, the one of a `fingerprint` or pin.

    Raises Unreachable.
    """
    wanted = fingerprint or (stop.pin if stop.pin and stop.pin.startswith("SHA256:") else None)
    first: Shown | None = None
    # a fingerprint doesn't say of which type its key is
    for family in hostkeys.FAMILIES if wanted else ((),):
        key = _ask(stop.make(family), family)
        if key is None:
            continue
        found = Shown(key, stop.judge.verdict(key))
        if not wanted or hostkeys.fingerprint(key) == wanted.rstrip("="):
            return found
        first = first or found
    if first is None:
        raise Unreachable("no common host key type", "let its sshd have an ed25519 key")
    return first


def _ask(connection: VerifiedConnection, algorithms: tuple[str, ...]) -> paramiko.PKey | None:
    asked = algorithms or connection.judge.algorithms()
    transport = None
    try:
        transport = connect.transport(asked, _socket(connection))
        transport.banner_timeout = connect.BANNER_TIMEOUT
        transport.start_client(timeout=connection.connect_timeout)
        return transport.get_remote_server_key()
    except paramiko.ssh_exception.IncompatiblePeer:
        return None
    except hostkeys.UntrustedHostKey as error:
        raise Unreachable(str(error), error.advice) from None
    except Exception as error:
        raise connect.explain(error, connection, None) from None
    finally:
        if transport is not None:
            transport.close()


def _socket(connection: VerifiedConnection) -> Any:
    if connection.gateway:
        return connection.open_gateway()
    return socket.create_connection((connection.host, connection.port), connection.connect_timeout)
