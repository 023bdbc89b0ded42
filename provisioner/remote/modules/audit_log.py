"""What the gateway host's audit log has.

Not of Ansible. Arguments: `path, worker, since` (Unix seconds), `most`. Returns `entries`, the
oldest first, and `left_out`, how many older ones there are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.remote import auditlog
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "path": Argument("str", default=auditlog.PATH),
    "worker": Argument("str"),
    "since": Argument("float", default=0.0),
    "most": Argument("int", default=10_000),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Only looks."""
    worker, since = arguments["worker"], arguments["since"]
    entries = [
        entry
        for entry in auditlog.read(Path(arguments["path"]))
        if worker in (None, "", entry.get("worker")) and float(entry.get("time", 0)) >= since
    ]
    kept = entries[-arguments["most"] :]
    return {"changed": False, "entries": kept, "left_out": len(entries) - len(kept)}
