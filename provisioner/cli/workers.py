"""What is known of each worker, as `b9prov status` asks and shows it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from provisioner.cli.session import Session
from provisioner.engine.events import Event, HostUnreachable, HostWaiting, TaskFinished
from provisioner.engine.host import HostState
from provisioner.report.tables import STATUS_COLUMNS

FACT = "b9_status"  # the variable in which the playbook leaves what it found
Row = dict[str, Any]
Seen = Callable[[Row], None]


def ask_status(session: Session, seen: Seen | None = None) -> list[Row] | None:
    """What is known of each host of the session, as `render_status` takes it; None when the
    user interrupted it. `seen` is told each row as soon as it is known, in another thread."""
    hosts = session.ask(_teller(session, seen) if seen else None)
    return None if hosts is None else [_row(host) for host in hosts]


def _teller(session: Session, seen: Seen) -> Callable[[Event], None]:
    """A sink that tells of hosts before the last of them has answered."""
    pools = {name: host.variables.get("pool") for name, host in session.inventory.hosts.items()}

    def tell(event: Event) -> None:
        name = getattr(event, "host", "")
        if name not in pools:
            return
        if isinstance(event, HostUnreachable):
            seen(_completed(name, pools[name], None, "down", event.reason, event.advice))
        elif isinstance(event, HostWaiting):
            why = f"another run is at work on it: {event.holder}"
            seen(_completed(name, pools[name], None, "ok", why, "it is asked when that has ended"))
        elif isinstance(event, TaskFinished):
            found = event.result.get("ansible_facts", {})
            if isinstance(found, dict) and isinstance(found.get(FACT), dict):
                seen(_completed(name, pools[name], found[FACT], "ok"))

    return tell


def _row(host: HostState) -> Row:
    pool, summary, found = host.target.variables.get("pool"), host.summary, host.left(FACT)
    ssh = "down" if summary.unreachable else "ok"
    known = found if isinstance(found, dict) else None
    if not summary.well:
        return _completed(host.name, pool, known, ssh, summary.reason, summary.advice)
    why = "" if known else f"the playbook left no {FACT} of this host"
    return _completed(host.name, pool, known, ssh, why)


def _completed(
    name: str, pool: Any, found: Row | None, ssh: str, reason: str = "", advice: str = ""
) -> Row:
    """The row of what was `found`; it is ready only without a `reason` of our own."""
    row: Row = dict.fromkeys(STATUS_COLUMNS)
    row |= {"name": name, "ready": False, "ssh": ssh, "pool": pool, **(found or {})}
    if reason:
        row |= {"ready": False, "reason": reason, "advice": advice}
    row["gateway_keepalive_age"] = _age(row.pop("gateway_keepalive", None))
    last = row.pop("last_keepalive", None)
    if row["last_keepalive_age"] is None:
        row["last_keepalive_age"] = _age(last)
    return row | {"name": str(row["name"]), "ready": bool(row["ready"])}


def _age(moment: Any) -> float | None:
    return round(max(0.0, time.time() - float(moment)), 1) if moment else None
