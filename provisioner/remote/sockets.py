"""TCP sockets of this host and whose they are, read from /proc."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

LISTEN = 10
_SOCKET = re.compile(r"socket:\[(\d+)\]")
_UNIT = re.compile(r"([^/]+\.(?:service|socket|scope))(?:/|$)")


@dataclass(frozen=True)
class Socket:
    """A TCP socket; `state` is the kernel's number (1 established, 10 listening)."""

    address: str
    port: int
    state: int
    inode: str


@dataclass(frozen=True)
class Owner:
    """The process that holds a socket and the systemd unit it runs in (empty when in none)."""

    pid: int
    name: str
    unit: str

    def __str__(self) -> str:
        return f"{self.name} (pid {self.pid}{', ' + self.unit if self.unit else ''})"


def tcp(proc: str = "/proc") -> list[Socket]:
    """All TCP sockets of this network namespace."""
    found = []
    for name in ("tcp", "tcp6"):
        try:
            lines = Path(proc, "net", name).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            words = line.split()
            host, _, port = words[1].partition(":")
            found.append(Socket(_address(host), int(port, 16), int(words[3], 16), words[9]))
    return found


def _address(text: str) -> str:
    words = [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]
    packed = b"".join(struct.pack("=I", word) for word in words)
    if len(packed) == 4:
        return socket.inet_ntoa(packed)
    if packed.startswith(b"\0" * 10 + b"\xff\xff"):
        return socket.inet_ntoa(packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed)


def listeners(proc: str = "/proc") -> list[Socket]:
    """The sockets that listen."""
    return [s for s in tcp(proc) if s.state == LISTEN]


def owners(inodes: Iterable[str], proc: str = "/proc") -> dict[str, Owner]:
    """Who holds each of the sockets with these inodes, as far as we may see it."""
    wanted = set(inodes)
    found: dict[str, Owner] = {}
    for entry in os.listdir(proc):
        if len(found) == len(wanted):
            break
        if not entry.isdigit():
            continue
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"{proc}/{entry}/fd"):
                with contextlib.suppress(OSError):
                    match = _SOCKET.fullmatch(os.readlink(f"{proc}/{entry}/fd/{descriptor}"))
                    if match and match[1] in wanted:
                        found.setdefault(match[1], owner(int(entry), proc))
    return found


def owner(pid: int, proc: str = "/proc") -> Owner:
    """A process by its number."""
    return Owner(pid, _read(f"{proc}/{pid}/comm") or "?", _unit(pid, proc))


def _unit(pid: int, proc: str) -> str:
    for line in _read(f"{proc}/{pid}/cgroup").splitlines():
        # the last unit of the path is the innermost
        units = _UNIT.findall(line.split(":", 2)[-1])
        if units:
            return str(units[-1])
    return ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""
