"""How the units of a worker fare, asked over a connection that is there; it takes no root."""

from __future__ import annotations

import paramiko

from provisioner.agent.tui.client import Trouble

UNITS = ("b9-tunnel", "b9agent", "k3s", "ollama")
_COMMAND = f"systemctl is-active {' '.join(UNITS)}"
_SECONDS = 10.0
_MOST = 4096  # bytes

States = dict[str, str]


def ask(transport: paramiko.Transport) -> States:
    """The states of UNITS, as systemd names them. Raises Trouble."""
    try:
        channel = transport.open_session(timeout=_SECONDS)
        try:
            channel.settimeout(_SECONDS)
            channel.exec_command(_COMMAND)
            said = _read(channel)
        finally:
            channel.close()
    except (paramiko.SSHException, OSError, EOFError) as problem:
        raise Trouble(f"through SSH: {str(problem) or type(problem).__name__}") from None
    words = said.decode("ascii", "replace").split()
    return dict(zip(UNITS, words, strict=True)) if len(words) == len(UNITS) else {}


def _read(channel: paramiko.Channel) -> bytes:
    """What is said, to its end or the most that is wanted."""
    said = b""
    while len(said) < _MOST and (piece := channel.recv(_MOST)):
        said += piece
    return said
