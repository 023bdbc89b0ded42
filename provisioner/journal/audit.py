"""The controller's audit log: a line when a command that changes something begins, and one when it
has ended. Of one that was killed there is the first.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from provisioner.journal.record import RUNNING, Record
from provisioner.journal.store import is_alive
from provisioner.journal.writer import exit_code_of
from provisioner.operator import operator
from provisioner.remote import auditlog
from provisioner.secrets import mask

_OWNER = 0o600


@contextmanager
def audited(path: Path, record: Record, warn: Callable[[str], None]) -> Iterator[Record]:
    """Note a command for the length of the block, at whose end the record says how it ended."""
    name = record.id or secrets.token_hex(4)
    words = ("command", "playbook", "inventory")
    begun = {each: mask(getattr(record, each)) for each in words}
    _append(path, {"event": "begun", "id": name, "by": operator(), **begun}, record, warn)
    try:
        yield record
    except BaseException as error:
        record.exit_code = exit_code_of(error)
        raise
    finally:
        ends = {host: end.get("end") for host, end in record.hosts.items()}
        ended = {"event": "ended", "id": name, "result": record.result(alive=False)}
        _append(path, {**ended, "exit_code": record.exit_code, "hosts": ends}, record, warn)


def commands(path: Path, runs: Path) -> list[dict[str, Any]]:
    """All commands on record, the oldest first, each with its end; `runs` are the runs' folders."""
    found: dict[str, dict[str, Any]] = {}
    for entry in auditlog.read(path):
        name = str(entry.get("id"))
        if entry.get("event") == "begun":
            found[name] = {**entry, "result": None, "exit_code": None, "hosts": {}, "ended": None}
        elif name in found:
            ended = {"ended": entry["time"]}
            found[name] |= {each: entry.get(each) for each in ("result", "exit_code", "hosts")}
            found[name] |= ended
    for name, entry in found.items():
        if entry["result"] is None:
            entry["result"] = RUNNING if is_alive(runs / name) else "died"
    return list(found.values())


def _append(path: Path, entry: dict[str, Any], record: Record, warn: Callable[[str], None]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        auditlog.append(path, {**entry, "check": record.check}, _OWNER)
    except OSError as error:
        warn(f"the audit log {path} does not have this: {error.strerror}")
