"""What systemd wants to hear from a service of `Type=notify`, over its datagram socket."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(*lines: str) -> None:
    """Tell systemd, e.g. `READY=1`; without effect when it did not start this process."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    channel.settimeout(1.0)
    with channel, contextlib.suppress(OSError):
        channel.sendto("\n".join(lines).encode(), address)


def watchdog_seconds() -> float | None:
    """How often systemd wants a sign of life; None when it does not watch this process."""
    period = os.environ.get("WATCHDOG_USEC", "")
    watched = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return int(period) / 1e6 if watched and period.isdecimal() and int(period) else None
