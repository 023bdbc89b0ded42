"""Whether somebody answers behind local ports that a tunnel forwards.

Not of Ansible. Arguments: `ports`, `host`, `timeout` in seconds, and `warn_only` as of `preflight`.

ssh takes every connection to such a port at once; where nobody is at the other end it closes it
again. So a connection that stays open, or brings a word, is one to somebody.
"""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.checks import Checks
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "ports": Argument("list", required=True),
    "host": Argument("str", default="127.0.0.1"),
    "timeout": Argument("float", default=1.0),  # seconds
    "warn_only": Argument("list"),
}
FIX = "see that its service runs and that the gateway host reaches it, as gateway.forwards has it"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Try all ports at the same time; the same in a dry run."""
    ports = [int(port) for port in arguments["ports"]]
    checks = Checks()
    host, timeout = arguments["host"], arguments["timeout"]
    with ThreadPoolExecutor(max_workers=16) as pool:
        problems = list(pool.map(lambda port: _problem(host, port, timeout), ports))
    for index, port in enumerate(ports):
        found = problems[index] or "somebody"
        checks.add(f"forward {port}", not problems[index], found, "somebody", FIX)
    checks.soften(arguments["warn_only"] or [])
    return checks.finish("forward")


def _problem(host: str, port: int, timeout: float) -> str:
    """Why nobody can be reached there; nothing when somebody can."""
    try:
        with socket.create_connection((host, port), timeout) as connection:
            connection.settimeout(timeout)
            return "" if connection.recv(1) else "nobody behind the tunnel"
    except socket.timeout:  # noqa: UP041 (an alias of TimeoutError only from Python 3.10 on)
        return ""
    except ConnectionResetError:
        return "nobody behind the tunnel"
    except OSError as error:
        return error.strerror or str(error)
