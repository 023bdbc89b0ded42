"""`b9prov upgrade`."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner.agent import VERSION
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    CHECK,
    PATH,
    VERBOSE,
    Request,
    host_options,
    output_kind,
    output_option,
)
from provisioner.cli.run_playbook import repeated_options, run_playbook, source_words
from provisioner.cli.session import agent_zipapp, open_session
from provisioner.engine.host import HostState
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_table
from provisioner.report.text import number

FACT = "b9_versions"  # the variable in which the playbook leaves what it found
COLUMNS = ("name", "part", "now", "then", "how")
# of what a program says of itself
_VERSIONS = {
    "ollama": re.compile(r"\d+\.\d+\.\d+(-rc\d+)?"),
    "k3s": re.compile(r"v\d+\.\d+\.\d+\S*"),
    "agent": re.compile(r"\d+\.\d+\.\d+\S*"),
}
Row = dict[str, Any]


@click.command(short_help="Bring workers to the inventory's versions, host by host.")
@click.argument("inventory", type=PATH, required=False)
@click.option(
    "--serial",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    help="Hosts at the same time.",
)
@host_options
@CHECK
@output_option()
@VERBOSE
def upgrade(inventory: Path | None, serial: int, **options: Any) -> int:
    """Show which of Ollama, k3s and agent are of other versions than the inventory has, then run
    `up` on these hosts, one after the other, and stop at the first that fails.

    INVENTORY is ./inventory.yaml when it is not given. What else is not as described is put right
    on these hosts as well. A node is drained before its k3s is replaced. The exit code is 0 when
    all have their versions; with --check, when that could be told.
    """
    request = Request(inventory=inventory, **options)
    asked = replace(request, check=False)
    session = open_session(asked, shipped_playbook("versions", request.playbooks), {})
    hosts = session.ask()
    if hosts is None:
        say("interrupted: nothing was changed")
        return INTERRUPTED
    zipapp = agent_zipapp()
    build = hashlib.sha256(Path(zipapp).read_bytes()).hexdigest()
    rows = [row for host in hosts for row in _rows(host, build)]
    kind = output_kind(request.output)
    lost = [host for host in hosts if not host.summary.well]
    _show(rows, lost, kind)
    names = list(dict.fromkeys(row["name"] for row in rows))
    if lost or not names or request.check:
        return FAILED if lost else 0
    done, code = _carry_out(request, names, serial, zipapp)
    _tell(request, names, done, code, kind)
    return code


def _rows(host: HostState, agent_build: str) -> list[Row]:
    """What is to be replaced on a host; nothing of what is not there yet."""
    found = host.left(FACT)
    if not host.summary.well or not isinstance(found, list):
        return []
    ollama, k3s, agent, build = [*found, "", "", "", ""][:4]
    wanted = host.target.variables
    if not agent:
        say(f"{host.name}: it is no worker yet; b9prov up makes it one")
        return []
    drained = wanted["k3s"]["mode"] == "server"
    parts = [
        ("ollama", wanted["ollama"], ollama, "restarted"),
        ("k3s", wanted["k3s"], k3s, "drained, restarted" if drained else "restarted"),
    ]
    rows = [
        {"part": part, "now": _version(part, said), "then": section["version"], "how": how}
        for part, section, said, how in parts
        if section["enabled"] and said and section.get("mode") != "existing"
    ]
    now = _version("agent", agent)
    then = VERSION if now != VERSION or build == agent_build else f"{VERSION}, rebuilt"
    rows.append({"part": "agent", "now": now, "then": then, "how": "restarted"})
    return [{"name": host.name, **row} for row in rows if row["now"] != row["then"]]


def _version(part: str, said: str) -> str:
    match = _VERSIONS[part].search(said)
    return match[0] if match else said.strip()


def _show(rows: list[Row], lost: list[HostState], kind: str) -> None:
    if kind == "json":
        unknown = {host.name: host.summary.reason for host in lost}
        shown = {"schema": 1, "event": "upgrades", "upgrades": rows, "unknown": unknown}
        click.echo(json.dumps(shown))
    elif rows:
        render_table(COLUMNS, rows, kind, sys.stdout, "upgrades")
    elif not lost:
        click.echo("nothing to do: all versions are the inventory's")
    for host in lost:
        say(f"{host.name}: {host.summary.reason} ({host.summary.advice})")
    if lost:
        say("nothing was changed; --limit leaves hosts out")


def _carry_out(
    request: Request, names: list[str], serial: int, zipapp: str
) -> tuple[list[str], int]:
    """Run `up` on so many hosts at a time; those that are done, and the exit code."""
    done: list[str] = []
    for batch in _batches(names, serial):
        limited = replace(request, limit=",".join(batch))
        playbook = shipped_playbook("up", request.playbooks)
        session = open_session(limited, playbook, {"b9agent_pyz": zipapp})
        code = run_playbook(session, limited, ["b9prov", "up", *source_words(request)])
        if code:
            return done, code
        done += batch
    return done, 0


def _batches(names: list[str], size: int) -> Iterator[list[str]]:
    for start in range(0, len(names), size):
        yield names[start : start + size]


def _tell(request: Request, names: list[str], done: list[str], code: int, kind: str) -> None:
    left = [name for name in names if name not in done]
    if kind == "json":
        shown = {"schema": 1, "event": "upgraded", "done": done, "left": left, "exit_code": code}
        click.echo(json.dumps(shown))
    elif code:
        again = shlex.join(
            ["b9prov", "upgrade", *source_words(request), *repeated_options(request)]
        )
        well = ", ".join(done) or "none"
        say(f"stopped: upgraded {well}; not {', '.join(left)}; once it is mended: {again}")
    else:
        say(f"{number(len(done), 'host')} upgraded: {', '.join(done)}")
