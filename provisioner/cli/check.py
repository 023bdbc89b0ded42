"""`b9prov check`."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.html import html_report
from provisioner.cli.options import (
    JUNIT,
    PATH,
    REPORT,
    Request,
    host_options,
    output_kind,
    output_option,
)
from provisioner.cli.session import Session, open_session
from provisioner.engine.events import Sink
from provisioner.engine.host import HostState
from provisioner.paths import shipped_playbook
from provisioner.report.checks import render_checks
from provisioner.report.junit import Junit

FACT = "b9_gpu"  # the variable in which the playbook leaves the rows
Row = dict[str, Any]


@click.group()
def check() -> None:
    """Look at the hosts, more closely than `up` does; nothing is changed."""


@check.command(short_help="GPUs, driver, toolkit, and what k3s and Ollama make of them.")
@click.argument("inventory", type=PATH, required=False)
@host_options
@output_option()
@JUNIT
@REPORT
def gpu(
    inventory: Path | None,
    junit: Path | None,
    report: Path | None,
    output: str | None,
    **options: Any,
) -> int:
    """Show the truth table of each host's GPUs: what was found, what is wanted, what to do.

    INVENTORY is ./inventory.yaml when it is not given. The exit code is 1 when a row failed;
    warnings, and what can't be judged, are no failures.
    """
    request = Request(inventory=inventory, output=output, **options)
    suites = Junit(junit) if junit else None
    session = open_session(request, shipped_playbook("check_gpu", request.playbooks), {})
    started = time.monotonic()
    rows = ask_checks(session, html_report(report, request, ["b9prov", "check", "gpu"]))
    if rows is None:
        say("interrupted: nothing was changed")
        return INTERRUPTED
    render_checks(rows, output_kind(output), sys.stdout)
    if suites:
        for row in rows:
            suites.check(row["host"], row)
        suites.write(time.monotonic() - started)
    return FAILED if any(_is_failure(row) for row in rows) else 0


def ask_checks(session: Session, sink: Sink | None = None) -> list[Row] | None:
    """The rows of all hosts of the session; None when the user interrupted it."""
    hosts = session.ask(sink)
    return None if hosts is None else [row for host in hosts for row in _rows(host)]


def _rows(host: HostState) -> list[Row]:
    found = host.left(FACT)
    if host.summary.well and isinstance(found, list):
        return [{"host": host.name, **row} for row in found]
    why = host.summary.reason or f"the playbook left no {FACT} of this host"
    row = {"name": "the host answers", "ok": False, "severity": "error", "found": why}
    return [{"host": host.name, **row, "wanted": "an answer", "fix": host.summary.advice}]


def _is_failure(row: Row) -> bool:
    return not row["ok"] and row["severity"] == "error"
