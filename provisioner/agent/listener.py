"""Connects to a listener of this machine only where it is that of the right user.

Any user may listen at a port that the tunnel has just let go of, and what the agent sends there
holds the machine's tokens.
"""

from __future__ import annotations

import errno
import pwd
import socket
import struct
from pathlib import Path

from provisioner.agent.http import Dial, Endpoint

_LISTENS = "0A"  # what /proc/net/tcp calls it
_TABLE = Path("/proc/net/tcp")


def dial_to(endpoint: Endpoint, user: str, table: Path = _TABLE) -> Dial:
    """Connects to `endpoint`, an IPv4 address of this machine, if `user` listens there.

    Asked before and after: whoever takes the port in between is found by one of the two.
    """

    def dial(timeout: float) -> socket.socket:
        before = owner(endpoint, table)
        connection = socket.create_connection((endpoint.host, endpoint.port), timeout)
        if before == owner(endpoint, table) == _uid(user):
            return connection
        connection.close()
        raise OSError(errno.EPERM, f"{user} does not listen there, so nothing is sent")

    return dial


def owner(endpoint: Endpoint, table: Path = _TABLE) -> int | None:
    """The uid of who listens at just this address and port; None where nobody does."""
    (number,) = struct.unpack("=I", socket.inet_aton(socket.gethostbyname(endpoint.host)))
    place = f"{number:08X}:{endpoint.port:04X}"
    with table.open() as lines:
        for line in lines:
            fields = line.split()
            if fields[1] == place and fields[3] == _LISTENS:
                return int(fields[7])
    return None


def _uid(user: str) -> int:
    try:
        return pwd.getpwnam(user).pw_uid
    except KeyError:
        raise OSError(errno.ENOENT, f"there is no user {user} to listen there") from None
