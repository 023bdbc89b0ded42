"""What a command on a host writes, as it is written; for what does not end by itself."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence

from fabric import Connection

from provisioner.secrets import Secret, revealed

_CHUNK = 1 << 16


Take = Callable[[str], None]


def stream_as_root(
    connection: Connection, argv: Sequence[str], password: Secret | None, take: Take
) -> int:
    """Run `argv` as root, and give `take` each line of its output and errors; its exit code.

    It is ended with the channel, so that an interrupt here leaves nothing running there.
    """
    channel = connection.client.get_transport().open_session()
    try:
        channel.set_combine_stderr(True)
        channel.exec_command(_as_root(argv, password is not None))
        if password is not None:
            channel.sendall(f"{revealed(password)}\n".encode())
        rest = b""
        while piece := channel.recv(_CHUNK):
            *lines, rest = (rest + piece).split(b"\n")
            for line in lines:
                take(line.decode("utf-8", "replace"))
        if rest:
            take(rest.decode("utf-8", "replace"))
        return int(channel.recv_exit_status())
    finally:
        channel.close()


def _as_root(argv: Sequence[str], with_password: bool) -> str:
    command = shlex.join(argv)
    sudo = "sudo -S -p ''" if with_password else "sudo -n"
    return f'if [ "$(id -u)" = 0 ]; then exec {command}; else exec {sudo} -- {command}; fi'
