"""An iperf3 server for as long as a measurement takes, as a transient unit without rights.

Not of Ansible. It ends by itself after `lifetime` seconds, should nobody be left to stop it. It
fails with `busy` while another measurement has it.
"""

from __future__ import annotations

import time
from typing import Any

from provisioner.remote import process, sockets
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "state": Argument("str", required=True, choices=("started", "stopped")),
    "port": Argument("int", default=5201),
    "lifetime": Argument("int", default=120),
}

UNIT = "b9prov-iperf3.service"
_RIGHTS = ("DynamicUser=yes", "CapabilityBoundingSet=", "PrivateDevices=yes", "ProtectHome=yes")
_PATIENCE = 10.0  # seconds from its start until it listens


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Start or stop it. It is there for the run alone, so that nothing counts as changed."""
    if context.check:
        return {"changed": False, "skipped": True, "msg": "nothing is measured in a dry run"}
    if arguments["state"] == "stopped":
        process.run(["systemctl", "stop", UNIT], timeout=_PATIENCE)
        return {"changed": False}
    _start(arguments)
    return {"changed": False}


def _start(arguments: dict[str, Any]) -> None:
    port = arguments["port"]
    if taken := _owner(port):
        if taken.unit == UNIT:
            raise ModuleFailed("another network test is running there", busy=True)
        message = f"port {port} is taken by {taken}"
        raise ModuleFailed(message, advice="set network.port to another one")
    limits = [f"--property={each}" for each in (*_RIGHTS, f"RuntimeMaxSec={arguments['lifetime']}")]
    unit = ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", *limits]
    server = ["iperf3", "--server", "--port", str(port)]
    outcome = process.run([*unit, *server], timeout=_PATIENCE)
    if outcome.rc:
        raise ModuleFailed(f"iperf3's server did not start: {outcome.said}")
    deadline = time.monotonic() + _PATIENCE
    while _owner(port) is None:
        if time.monotonic() > deadline:
            raise ModuleFailed(f"iperf3's server does not listen at port {port}")
        time.sleep(0.05)


def _owner(port: int) -> sockets.Owner | None:
    """Who listens at that port."""
    found = [each for each in sockets.listeners() if each.port == port]
    owners = sockets.owners(each.inode for each in found)
    unknown = sockets.Owner(0, "somebody", "")
    return next(iter(owners.values()), unknown) if found else None
