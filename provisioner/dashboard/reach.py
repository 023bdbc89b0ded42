"""The way to an agent's control API: a channel of an SSH connection to its host's loopback."""

from __future__ import annotations

import threading
from typing import Any

import paramiko
from fabric import Connection

from provisioner.agent.http import Endpoint
from provisioner.agent.tui.client import Client, Trouble
from provisioner.agent.tui.sight import Way
from provisioner.gateway.channel_http import SOURCE
from provisioner.inventory import Host
from provisioner.ssh.connect import Unreachable, connect, hang_up

LOOPBACK = "127.0.0.1"


class Reach:
    """Connects to hosts, so many at once at the most."""

    def __init__(self, host_keys: str, at_once: int) -> None:
        self._host_keys = host_keys
        self._room = threading.BoundedSemaphore(at_once)

    def way(self, host: Host) -> Way:
        """The way to the host's agent. Raises Trouble."""
        port = control_port(host)
        connection = self.connect(host)
        transport = connection.transport
        client = Client(Endpoint(LOOPBACK, port), dial=lambda wait: dial(connection, port, wait))
        return Way(client, lambda: hang_up(connection), transport.is_active)

    def connect(self, host: Host) -> Connection:
        """An open connection to the host. Raises Trouble."""
        with self._room:
            try:
                return connect(host, self._host_keys)
            except Unreachable as problem:
                raise Trouble(f"{problem.reason} ({problem.advice})") from None


def control_port(host: Host) -> int:
    """Where its agent listens. Raises Trouble."""
    port = int(host.variables["agent"]["control_port"])
    if not port:
        raise Trouble("its control API is off (agent.control_port: 0)")
    return port


def dial(connection: Connection, port: int, seconds: float) -> Any:
    """A channel to a port of the host itself. Raises OSError."""
    transport: paramiko.Transport = connection.transport
    try:
        channel = transport.open_channel("direct-tcpip", (LOOPBACK, port), SOURCE, timeout=seconds)
    except paramiko.ChannelException as refusal:
        raise OSError(_why(refusal)) from None
    except (paramiko.SSHException, EOFError) as problem:
        raise OSError(f"through SSH: {str(problem) or type(problem).__name__}") from None
    channel.settimeout(seconds)
    return channel


def _why(refusal: paramiko.ChannelException) -> str:
    if refusal.code == 1:
        return "sshd there lets nothing through (AllowTcpForwarding)"
    return "nothing listens there: is b9agent running?"
