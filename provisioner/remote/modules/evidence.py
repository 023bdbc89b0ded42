"""What a host shows of its units, disks, ports and clock, for a diagnosis; looks only.

Not of Ansible. Arguments: `units` (names), `lines` of each unit's journal, `paths` whose file
systems are looked at, `ports` whose listeners are named. Returns `time` (Unix seconds), `units`,
`disks` and `ports`.
"""

from __future__ import annotations

import os
import time
from typing import Any

from provisioner.remote import process, sockets
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "units": Argument("list", default=()),
    "lines": Argument("int", default=8),
    "paths": Argument("list", default=("/",)),
    "ports": Argument("list", default=()),
}
PROPERTIES = (
    "LoadState",
    "UnitFileState",
    "ActiveState",
    "SubState",
    "Result",
    "NRestarts",
    "ExecMainStatus",
    "StateChangeTimestamp",
)
QUICK = 10.0  # seconds that systemctl or journalctl may take
MIB = 1 << 20


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Only looks; what can't be read is left out."""
    return {
        "changed": False,
        "time": time.time(),
        "units": {name: unit(str(name), arguments["lines"]) for name in arguments["units"]},
        "disks": disks([str(path) for path in arguments["paths"]]),
        "ports": ports([int(port) for port in arguments["ports"]]),
    }


def unit(name: str, lines: int) -> dict[str, Any]:
    """A unit's state in systemd's words, and the end of its journal."""
    shown = process.run(["systemctl", "show", name, f"-p{','.join(PROPERTIES)}"], timeout=QUICK)
    state = dict(line.partition("=")[::2] for line in shown.stdout.splitlines())
    found: dict[str, Any] = {each: state.get(each, "") for each in PROPERTIES}
    journal: list[str] = []
    if found["LoadState"] not in ("", "not-found"):
        command = ["journalctl", "-q", "-u", name, "-n", str(lines), "-o", "cat", "--no-pager"]
        journal = process.run(command, timeout=QUICK).stdout.splitlines()
    return {**found, "journal": [line for line in journal if line.strip()]}


def disks(paths: list[str]) -> list[dict[str, Any]]:
    """The file systems of the paths, each once; of a path that is not there, its parent's."""
    found: dict[int, dict[str, Any]] = {}
    for path in paths:
        while not os.path.exists(path) and path != "/":
            path = os.path.dirname(path) or "/"
        about, device = os.statvfs(path), os.stat(path).st_dev
        found.setdefault(
            device,
            {
                "path": path,
                "free_mib": about.f_bavail * about.f_frsize // MIB,
                "total_mib": about.f_blocks * about.f_frsize // MIB,
                "free_inodes": about.f_favail,
                "inodes": about.f_files,  # 0 where the file system has no table of them
                "read_only": bool(about.f_flag & os.ST_RDONLY),
            },
        )
    return list(found.values())


def ports(wanted: list[int]) -> list[dict[str, Any]]:
    """Who listens at these ports."""
    listening = [each for each in sockets.listeners() if each.port in wanted]
    owners = sockets.owners({each.inode for each in listening})
    return [
        {
            "port": each.port,
            "address": each.address,
            "program": owners[each.inode].name if each.inode in owners else "",
            "unit": owners[each.inode].unit if each.inode in owners else "",
        }
        for each in listening
    ]
