"""Who has a place on the gateway host, and whose session is up.

Not of Ansible. Arguments: `user, authorized_keys, state_file`. Returns `slots`, a list with `name,
key, address, state, listening, since, owner, created, last_seen, revoked`; times are Unix seconds.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from provisioner.remote import statefile, tunnelsessions
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "user": Argument("str", default="b9tunnel"),
    "authorized_keys": Argument("str", default="/etc/b9prov/authorized_keys"),
    "state_file": Argument("str", default="/var/lib/b9prov/slots.json"),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Only looks."""
    slots = statefile.load(Path(arguments["state_file"])).get("slots", {})
    keys_file = Path(arguments["authorized_keys"])
    lines = keys_file.read_text().splitlines() if keys_file.exists() else []
    sessions = tunnelsessions.sessions(arguments["user"])
    since = {address: session.began for session in sessions for address in session.addresses}
    found = [
        {
            "name": worker,
            "key": tunnelsessions.fingerprint(slot["key"]),
            "address": slot["address"],
            "state": _state(worker, slot, lines),
            "listening": slot["address"] in since,
            "since": since.get(slot["address"]),
            "owner": slot.get("owner") or None,
            "created": slot.get("created"),
            "last_seen": int(time.time()) if slot["address"] in since else None,
            "revoked": slot.get("revoked"),
        }
        for worker, slot in sorted(slots.items())
    ]
    down = [each for each in found if not each["listening"]]
    _look_up(down, arguments["user"], {session.login for session in sessions})
    return {"changed": False, "slots": found}


def _state(worker: str, slot: dict[str, Any], lines: list[str]) -> str:
    if "revoked" in slot:
        return "revoked"
    kept = [line for line in lines if line.endswith(f" b9prov:{worker}")]
    if not any(slot["key"] in line for line in kept):
        return "no key"  # a run was killed half-way, or somebody took the line out
    return "rotating" if "next_key" in slot else "ok"


def _look_up(found: list[dict[str, Any]], user: str, alive: set[int]) -> None:
    """When those that are down were last up, as far as the host's journal goes back.

    Of a session whose end was not logged, such as one that was killed, it has the beginning.
    """
    if not found:
        return
    seen: dict[str, float] = {}
    for login in tunnelsessions.logins(user, since=0):
        ending = login.ended is None and login.pid in alive
        at = time.time() if ending else login.ended or login.began
        seen[login.fingerprint] = max(at, seen.get(login.fingerprint, 0.0))
    for each in found:
        each["last_seen"] = seen.get(each["key"])
