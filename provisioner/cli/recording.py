"""The journal of a command's run, and what an earlier run has already done."""

from __future__ import annotations

import secrets
import shlex
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path

from provisioner import __version__
from provisioner.cli.digests import digests, what_differs
from provisioner.cli.failures import say
from provisioner.cli.options import Request
from provisioner.cli.session import Session
from provisioner.cli.sources import inventory_path
from provisioner.engine.resume import Memory
from provisioner.engine.run import Options
from provisioner.errors import BadInput
from provisioner.journal import Formats, Journal, Record, find, runs
from provisioner.journal.audit import audited
from provisioner.journal.record import RUNNING
from provisioner.journal.store import LAST, Kept
from provisioner.paths import state_dir
from provisioner.report import Rerun, make_report
from provisioner.report.files import how_it_ended
from provisioner.secrets import mask


def audit_path() -> Path:
    """Where the audit log is."""
    return state_dir() / "audit.jsonl"


def noted(record: Record) -> AbstractContextManager[Record]:
    """Have the audit log know of a command for the length of a block."""
    return audited(audit_path(), record, lambda text: say(f"warning: {text}"))


def journal_dir() -> Path:
    """Where the records of all runs are."""
    return state_dir() / "runs"


@dataclass(frozen=True)
class Recording:
    """A run that is about to begin: its journal, and how it is to be run."""

    journal: Journal
    session: Session


def record_run(
    session: Session, request: Request, command: Sequence[str], rerun: Rerun, retry: Path
) -> Recording:
    """Begin a journal. Raises BadInput where the run that it should resume does not fit."""
    salt = secrets.token_hex(16)
    record = Record(
        command=mask(shlex.join(command)),
        playbook=str(session.playbook.path.resolve()),
        inventory=_inventory(request),
        check=request.check,
        version=__version__,
        salt=salt,
        digests=digests(session, salt),
        retry=str(retry),
    )
    earlier = _earlier(session, request, record) if request.resume else None
    record.resumed = earlier.id if earlier else ""
    formats = Formats(
        events=lambda stream: make_report("json", stream=stream, rerun=rerun),
        log=lambda stream: make_report("plain", stream=stream, rerun=rerun, diff=True, verbose=1),
        end=how_it_ended,
    )
    journal = Journal.begin(journal_dir(), record, formats, lambda text: say(f"warning: {text}"))
    return Recording(journal, _remembering(session, journal, earlier))


def _remembering(session: Session, journal: Journal, earlier: Kept | None) -> Session:
    """The session with a memory; runs that are spread over a cluster have none."""
    if session.executor is not None:
        return session
    key = bytes.fromhex(journal.record.salt)
    memory = Memory(journal.note_done, key)
    if earlier:
        touched = _touched_since(earlier)
        lines = [line for line in earlier.done() if line.get("host") not in touched]
        memory = Memory(
            journal.note_done, key, earlier.id, bytes.fromhex(earlier.record.salt), lines
        )
    options: Options = replace(session.options, memory=memory)
    return replace(session, options=options)


def _earlier(session: Session, request: Request, record: Record) -> Kept:
    """The run to go on from. Raises BadInput."""
    if request.check:
        raise BadInput.of("--check looks at everything", advice="leave out --resume")
    if request.executor:
        raise BadInput.of(
            "--executor keeps no record of what was done", advice="leave out --resume"
        )
    kept = _last_alike(record) if request.resume == LAST else _named(str(request.resume))
    if kept.result == RUNNING:
        raise BadInput.of(f"run {kept.id} is still at work", advice="wait for its end")
    if kept.record.check:
        raise BadInput.of(f"run {kept.id} was in check mode: it did nothing", advice="name another")
    if differing := what_differs(kept.record.digests, digests(session, kept.record.salt)):
        what = f"not as then: {' and '.join(differing)}"
        raise BadInput.of(f"can't resume run {kept.id}: {what}", advice="leave out --resume")
    return kept


def _named(name: str) -> Kept:
    try:
        return find(journal_dir(), name)
    except BadInput as error:
        if Path(name).exists():
            advice = f"write --resume={LAST}, or put --resume behind {name}"
            raise BadInput.of(
                f"--resume took {name!r} for the ID of a run", advice=advice
            ) from None
        raise error from None


def _last_alike(record: Record) -> Kept:
    """The last real run of the same playbook and inventory."""
    for kept in runs(journal_dir()):
        then = kept.record
        same = (then.playbook, then.inventory) == (record.playbook, record.inventory)
        if same and not then.check:
            return kept
    raise BadInput.of(
        "no run of this playbook and inventory is on record", advice="leave out --resume"
    )


def _touched_since(earlier: Kept) -> set[str]:
    """The hosts on which another run may have undone what this one did."""
    later = (kept for kept in runs(journal_dir()) if kept.id > earlier.id and not kept.record.check)
    return {host for kept in later for host in kept.record.hosts}


def _inventory(request: Request) -> str:
    if request.hosts:
        return " ".join([*request.hosts, request.gateway_host or ""]).strip()
    return str(inventory_path(request.inventory).resolve())
