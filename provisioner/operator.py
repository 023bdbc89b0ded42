"""Who runs b9prov, for records of what was done."""

from __future__ import annotations

import getpass
import os
import socket


def operator() -> str:
    """`USER@CONTROLLER`; who became root by sudo is named too, as `USER(root)@CONTROLLER`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # no such user, as in some containers
        user = str(os.getuid())
    person = os.environ.get("SUDO_USER", user)
    return f"{user if person == user else f'{person}({user})'}@{socket.gethostname()}"
