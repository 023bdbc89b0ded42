"""`b9prov verify`."""

from __future__ import annotations

import sys
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    PATH,
    Request,
    host_options,
    host_or_limit,
    output_kind,
    output_option,
)
from provisioner.cli.session import Session, open_session
from provisioner.engine.events import Event, TaskFinished, TaskStarted
from provisioner.engine.host import HostState
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_proofs

FACT = "b9_verify"  # the variable in which the playbook leaves what it learnt
ROLE = "/roles/verify/"  # where the tasks are that prove something
Row = dict[str, Any]


@click.command(short_help="Prove that workers are ready; with --job, by a Job that runs.")
@click.argument("inventory", type=PATH, required=False)
@click.argument("host", required=False)
@click.option("--job", is_flag=True, help="Also have a Job run to its end, as the gateway's do.")
@host_options
@output_option()
def verify(
    inventory: Path | None,
    host: str | None,
    job: bool,
    output: str | None,
    **options: Any,
) -> int:
    """Prove, step by step, that the gateway can start work on the workers: HOST, or all.

    The same as at the end of `up`, with nothing changed before. With --job one of k3s.verify_image
    is made by the gateway's token, from the gateway host through the tunnel, must end well within
    180 s, and is deleted whatever comes of it. INVENTORY is ./inventory.yaml when it is not given.
    The exit code is 0 when all is proven on all.
    """
    options["limit"] = host_or_limit(host, options["limit"])
    request = Request(inventory=inventory, output=output, **options)
    # without --job it is as the inventory says
    magic = {"verify_job": True} if job else {}
    session = open_session(request, shipped_playbook("verify", request.playbooks), magic)
    rows = ask_proofs(session)
    if job:
        rows = rows and [_held_to_job(row) for row in rows]
    if rows is None:
        say("interrupted: a Job that was made ends by itself within 5 minutes")
        return INTERRUPTED
    render_proofs(rows, output_kind(output), sys.stdout)
    return 0 if all(row["ok"] for row in rows) else FAILED


def ask_proofs(session: Session) -> list[Row] | None:
    """What was proven on each host, and how long it took; None when the user interrupted it."""
    steps: dict[str, list[Row]] = {}
    begun: dict[tuple[str, str], float] = {}  # a task that is tried again begins once

    def listen(event: Event) -> None:
        if isinstance(event, TaskStarted):
            begun.setdefault((event.host, event.where), time.monotonic())
        elif isinstance(event, TaskFinished) and ROLE in event.where:
            since = begun.get((event.host, event.where))
            took = time.monotonic() - since if since else 0.0
            _note(steps.setdefault(event.host, []), event, max(event.seconds, took))

    hosts = session.ask(listen)
    return None if hosts is None else [_row(host, steps.get(host.name, [])) for host in hosts]


def _note(steps: list[Row], event: TaskFinished, seconds: float) -> None:
    if event.status == "skipped" or event.module in ("debug", "fail", "set_fact"):
        return
    ok = event.status in ("ok", "changed")
    steps.append({"step": event.task, "ok": ok, "seconds": round(seconds, 3)})


def _row(host: HostState, steps: list[Row]) -> Row:
    found = host.left(FACT)
    known = found if isinstance(found, dict) and host.summary.well else {}
    row = {"name": host.name, "ok": host.summary.well, "steps": steps, "job": None}
    row |= {key: known.get(key) for key in ("machine_id", "address", "gateway_host")}
    if known.get("job"):
        row["job"] = _job(known["job"], known.get("nodes") or [])
    if not host.summary.well:
        row |= {"reason": host.summary.reason, "advice": host.summary.advice}
    return row


def _held_to_job(row: Row) -> Row:
    """Where no Job could be run, none is proven."""
    if not row["ok"] or row["job"]:
        return row
    reason = "no Job was run: its Kubernetes has no node, or belongs to another (k3s.mode: join)"
    return row | {"ok": False, "reason": reason, "advice": "verify the server of that cluster"}


def _job(job: dict[str, Any], nodes: list[str]) -> Row:
    """Of a Job that ended well: what it ran, and how long by the clock of its Kubernetes."""
    status = job.get("status", {})
    begun, ended = (status.get(key) for key in ("startTime", "completionTime"))
    (container,) = job["spec"]["template"]["spec"]["containers"]
    seconds = (_moment(ended) - _moment(begun)).total_seconds() if begun and ended else None
    return {"image": container["image"], "uid": job["metadata"].get("uid"), "seconds": seconds,
            "nodes": [name.removeprefix("node/") for name in nodes]}  # fmt: skip


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
