"""`b9prov doctor`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.asking import with_passwords
from provisioner.cli.calling import Called
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    CHECK,
    PATH,
    Request,
    host_options,
    host_or_limit,
    output_kind,
    output_option,
)
from provisioner.cli.run_playbook import source_words
from provisioner.cli.session import open_session, quiet
from provisioner.cli.sources import extra_variables, inventory_path, open_inventory
from provisioner.codes import CODES, see
from provisioner.doctor import ERROR, Finding, Fleet, Host, Repair, diagnose
from provisioner.engine.host import HostState
from provisioner.inventory import Inventory
from provisioner.paths import shipped_playbook
from provisioner.report.findings import render_findings
from provisioner.ssh.pool import Pool

SEEN, REPAIRED = "b9_evidence", "b9_repaired"  # variables in which the playbooks leave their facts
Row = dict[str, Any]


@click.command(short_help="Find out what is wrong with workers or gateway, and what mends it.")
@click.argument("inventory", type=PATH, required=False)
@click.argument("host", required=False)
@click.option("--fix", is_flag=True, help="Do what is safe of what mends it, and look again.")
@CHECK
@host_options
@output_option()
def doctor(inventory: Path | None, host: str | None, fix: bool, check: bool, **options: Any) -> int:
    """Look at the workers, or at HOST alone, and at their gateway, and say what is wrong: causes
    first, each with what was seen, what it means and what to do. Nothing is asked.

    With --fix units are started anew and machines registered again, nothing that could harm;
    with --check as well, it is only shown what would be done. The exit code is 0 when nothing is
    wrong. INVENTORY is ./inventory.yaml when it is not given.
    """
    if check and not fix:
        raise click.UsageError("--check goes with --fix: without it nothing is changed anyway")
    options["limit"] = host_or_limit(host, options["limit"])
    return Doctor(Request(inventory=inventory, **options)).run(fix, check)


class Doctor:
    """One examination: looks, and where it is asked to, repairs and looks again."""

    def __init__(self, request: Request) -> None:
        if not request.hosts:
            request = replace(request, inventory=inventory_path(request.inventory))
        self._request = request
        self._extra = extra_variables(request)
        self._inventory = with_passwords(open_inventory(request, self._extra), request)
        self._chosen = self._inventory.chosen(request.limit, request.shard)

    def run(self, fix: bool, check: bool) -> int:
        """The exit code."""
        found = self.look()
        if found is None:
            return _interrupted()
        before, done = found, list[Row]()
        repairs = _repairs(found) if fix else []
        if check:
            done = [{"host": each.host, "command": each.command, "rc": None} for each in repairs]
        elif repairs:
            repaired = self.repair(repairs)
            again = self.look() if repaired is not None else None
            if repaired is None or again is None:
                return _interrupted()
            done, found = repaired, again
        left = {each.key for each in found}
        mended = [each for each in before if each.is_cause and each.key not in left]
        self._show(found, mended, done)
        return FAILED if any(each.severity == ERROR for each in found) else 0

    def look(self) -> list[Finding] | None:
        """What is wrong; None when the user interrupted it."""
        magic = {
            "doctor_pools": sorted({str(host.variables["pool"]) for host in self._chosen}),
            "doctor_workers": [host.name for host in self._chosen],
        }
        hosts = self._play("doctor", magic)
        return None if hosts is None else diagnose(_fleet(self._inventory, hosts, self._chosen))

    def repair(self, repairs: Iterable[Repair]) -> list[Row] | None:
        """Give the commands; what came of each."""
        wanted: dict[str, list[str]] = {}
        for each in repairs:
            wanted.setdefault(each.host, []).append(each.command)
        hosts = self._play("doctor_fix", {"doctor_repairs": wanted})
        if hosts is None:
            return None
        return [
            {"host": name, "command": each.get("item"), "rc": each.get("rc")}
            for name, host in hosts.items()
            for each in host.left(REPAIRED) or ()
        ]

    def _play(self, playbook: str, magic: dict[str, Any]) -> dict[str, HostState] | None:
        """The hosts as a playbook leaves them, all of which are called at once."""
        request, inventory = self._request, self._inventory
        pool = Pool(request.host_keys, request.lock_wait, frozenset(inventory.gateway.hosts))
        for host in [*inventory.gateway.hosts.values(), *self._chosen][: request.forks]:
            pool.call(host, "root")
        called = Called(self._extra, inventory, pool)
        path = shipped_playbook(playbook, request.playbooks)
        run = open_session(request, path, magic, called).run(quiet)
        return None if run.execute().interrupted else run.hosts

    def _show(self, found: list[Finding], mended: list[Finding], done: list[Row]) -> None:
        kind = output_kind(self._request.output)
        words = shlex.join(source_words(self._request))
        rows = [_row(each, words) for each in found]
        gone = [_row(each, words) for each in mended]
        if kind != "json":
            for each in done:
                ended = "would be given" if each["rc"] is None else f"exit code {each['rc']}"
                click.echo(f"{each['host']}: {each['command']}: {ended}")
        render_findings(rows, gone, kind, sys.stdout, repairs=done)
        if kind != "json":
            click.echo(self._summary(found))

    def _summary(self, found: list[Finding]) -> str:
        workers = f"{len(self._chosen)} worker{'s' * (len(self._chosen) != 1)}"
        causes = [each for each in found if each.is_cause]
        if not causes:
            return f"nothing is wrong with {workers} and the gateway"
        rest = sum(each.follows is not None for each in found)
        number = "1 cause" if len(causes) == 1 else f"{len(causes)} causes"
        what = f"{number}, {rest} that follow{'s' * (rest == 1)}"
        return f"{what}; {see(each.code for each in causes)}"


def _fleet(inventory: Inventory, hosts: dict[str, HostState], chosen: Iterable[Any]) -> Fleet:
    def seen(name: str) -> Host:
        state = hosts[name]
        found, summary = state.left(SEEN), state.summary
        settings = state.target.variables
        if summary.well and isinstance(found, dict):
            return Host(name, found, settings=settings)
        reason = summary.reason or summary.stopped or f"the playbook left no {SEEN}"
        return Host(name, {}, reason, summary.advice, settings)

    return Fleet(
        workers=tuple(seen(host.name) for host in chosen),
        gateways=tuple(seen(name) for name in inventory.gateway.hosts),
        api=inventory.gateway.api,
    )


def _repairs(found: Iterable[Finding]) -> list[Repair]:
    """Those of the causes, and of what may stay behind when they are gone; each once."""
    return list(dict.fromkeys(repair for each in found for repair in each.repairs))


def _row(finding: Finding, words: str) -> Row:
    row = asdict(finding)
    host, code = finding.follows or ("", "")
    follows = {"host": host, "code": code} if finding.follows else None
    del row["repairs"]
    fix = finding.fix.replace("INVENTORY", words)
    return row | {"title": CODES[finding.code].title, "fix": fix, "follows": follows}


def _interrupted() -> int:
    say("interrupted: what was begun, a host may still end")
    return INTERRUPTED
