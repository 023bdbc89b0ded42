"""A local port that leads to a port of a host, over an SSH connection that is already there."""

from __future__ import annotations

import logging
from typing import Any

import paramiko
import sshtunnel

LOOPBACK = "127.0.0.1"
_log = logging.getLogger("b9prov.forward")
# without these sshtunnel writes to stderr what comes back as errors with a reason
for _each in (_log, logging.getLogger("paramiko.transport")):
    _each.addHandler(logging.NullHandler())


class PortTaken(Exception):
    """The local port that was asked for is somebody else's."""


class Forward(sshtunnel.SSHTunnelForwarder):  # type: ignore[misc]
    """A context in which 127.0.0.1:`port` leads to `far`, an address as seen from the host.

    sshtunnel would log in by itself, and takes any host key: it gets a connection whose host key
    was verified, over whatever jump hosts, instead. Its own way to keys fails with paramiko 4.
    """

    def __init__(
        self, transport: paramiko.Transport, far: tuple[str, int], local_port: int = 0
    ) -> None:
        """`local_port` 0 is a free one. Raises PortTaken when the context is entered."""
        self._given = transport
        super().__init__(
            transport.getpeername()[:2],
            ssh_config_file=None,
            local_bind_address=(LOOPBACK, local_port),
            remote_bind_address=far,
            logger=_log,
        )

    @property
    def port(self) -> int:
        """The local port."""
        return int(self.local_bind_port)

    def __enter__(self) -> Forward:
        try:
            self.start()
        except sshtunnel.BaseSSHTunnelForwarderError:
            raise PortTaken from None
        return self

    def __exit__(self, *_: Any) -> None:
        self.stop(force=True)

    @staticmethod
    def _consolidate_auth(**_: Any) -> tuple[None, list[Any]]:
        return None, []

    def _connect_to_gateway(self) -> None:
        self._transport = self._given
