"""`b9prov runs`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import click

from provisioner import __version__
from provisioner.cli.options import PATH, output_kind, output_option
from provisioner.cli.recording import journal_dir
from provisioner.errors import BadInput
from provisioner.journal import store
from provisioner.journal.store import Kept
from provisioner.report.tables import render_table
from provisioner.report.text import masked, names, one_line

COLUMNS = ("id", "when", "command", "hosts", "result", "seconds")
SCHEMA = 1


@click.group(invoke_without_command=True)
@output_option()
@click.pass_context
def runs(context: click.Context, output: str | None) -> None:
    """Show past runs: those that are on record, the newest first.

    The last 100 are kept, on this machine, for this user.
    """
    if context.invoked_subcommand is None:
        kind = output_kind(output)
        rows = [_row(kept, kind) for kept in store.runs(journal_dir())]
        render_table(COLUMNS, rows, kind, sys.stdout, "runs")


@runs.command(short_help="Show how a run went, and the log of each host.")
@click.argument("run", metavar="ID")
@click.option("--host", metavar="HOST", help="Only the log of this host.")
@output_option("plain", "json")
def show(run: str, host: str | None, output: str | None) -> None:
    """Show how run ID went, and the log of each host.

    ID may be the beginning of one, or `last`. Times in logs are UTC.
    """
    kept = store.find(journal_dir(), run)
    logs = _logs(kept, host)
    if output == "json":
        content = {"schema": SCHEMA, "run": _details(kept), "logs": logs}
        click.echo(json.dumps(content, separators=(",", ":")))
        return
    for name, value in _summary(kept):
        click.echo(f"{name:<10}{one_line(value)}")
    for name, log in logs.items():
        click.echo(f"\n{name}\n{log}", nl=False)


@runs.command(short_help="Make an HTML report of a run.")
@click.argument("run", metavar="ID")
@click.argument("file", type=PATH, required=False)
def report(run: str, file: Path | None) -> None:
    """Make an HTML report of run ID in FILE, by default ./b9prov-ID.html.

    ID may be the beginning of one, or `last`. It is the report that --report makes.
    """
    from provisioner.report.html import HtmlReport

    kept = store.find(journal_dir(), run)
    path = file or Path(f"b9prov-{kept.id}.html")
    events = kept.events()
    again = next((str(each["retry"]) for each in events if each.get("retry")), "")
    command = kept.record.command
    made = HtmlReport(path, command, lambda hosts: again if _retry(kept) else "", __version__)
    try:
        made.read(events)
    except ValueError as error:
        raise BadInput.of(f"the events of run {kept.id} can't be read: {error}") from None
    click.echo(f"{path} shows run {kept.id}")


def _row(kept: Kept, kind: str) -> dict[str, Any]:
    if kind == "json":
        return _details(kept)
    return {
        "id": kept.id,
        "when": _local(kept.record.started),
        "command": kept.record.command,
        "hosts": names(list(kept.record.hosts), 4),
        "result": kept.result + (", check" if kept.record.check else ""),
        "seconds": _seconds(kept),
    }


def _details(kept: Kept) -> dict[str, Any]:
    """What programs are told; times are Unix seconds."""
    record = kept.record
    shown: dict[str, Any] = masked(
        {
            "command": record.command,
            "playbook": record.playbook,
            "inventory": record.inventory,
            "retry": _retry(kept),
            "error": record.error,
        }
    )
    return {
        "id": kept.id,
        "result": kept.result,
        "check": record.check,
        "started": record.started,
        "ended": record.ended,
        "seconds": _seconds(kept),
        "exit_code": record.exit_code,
        "resumed": record.resumed or None,
        "hosts": record.hosts,
        **shown,
    }


def _summary(kept: Kept) -> list[tuple[str, object]]:
    record = kept.record
    result = kept.result if record.exit_code is None else f"{kept.result} ({record.exit_code})"
    lines: list[tuple[str, object]] = [
        ("run", kept.id),
        ("command", record.command),
        ("playbook", record.playbook),
        ("inventory", record.inventory),
        ("started", _local(record.started)),
        ("seconds", _seconds(kept)),
        ("result", result + (", check mode" if record.check else "")),
    ]
    if record.error:
        lines.append(("error", record.error))
    if record.resumed:
        lines.append(("resumed", record.resumed))
    lines += [("host", f"{name}: {_end(end)}") for name, end in record.hosts.items()]
    if retry := _retry(kept):
        lines.append(("retry", f"the failed hosts alone: {retry}"))
    if kept.result in ("failed", "interrupted", "died") and not record.check:
        lines.append(("resume", f"what is not done yet: --resume={kept.id}"))
    return lines


def _end(end: dict[str, Any]) -> str:
    counts = " ".join(f"{name}={value}" for name, value in end.items() if name != "end")
    return f"{end.get('end')} {counts}".rstrip()


def _retry(kept: Kept) -> str | None:
    """The option that names the hosts that failed, while the file that lists them is this run's."""
    failed = {name for name, end in kept.record.hosts.items() if end.get("end") in _NOT_WELL}
    try:
        with open(kept.record.retry, encoding="utf-8") as file:
            listed = set(file.read().split())
    except OSError:
        return None
    return f"--limit @{kept.record.retry}" if listed and listed == failed & listed else None


_NOT_WELL = ("failed", "unreachable", "stopped")


def _logs(kept: Kept, host: str | None) -> dict[str, str]:
    logs = kept.logs()
    if host is not None and host not in logs:
        known = ", ".join(logs) or "none"
        raise BadInput.of(f"run {kept.id} was not on host {host!r}", advice=f"there are: {known}")
    chosen = logs if host is None else {host: logs[host]}
    return {name: path.read_text("utf-8", errors="replace") for name, path in chosen.items()}


def _seconds(kept: Kept) -> float | None:
    return None if kept.seconds is None else round(kept.seconds, 1)


def _local(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
