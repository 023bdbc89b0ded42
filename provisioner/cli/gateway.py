"""`b9prov gateway`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.confirm import confirmed
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import (
    CHECK,
    DIFF,
    EXTRA_VARS,
    PATH,
    VERBOSE,
    Request,
    connection_options,
    output_kind,
    output_option,
    run_options,
    with_options,
)
from provisioner.cli.run_called import run_called
from provisioner.cli.run_playbook import run_playbook
from provisioner.cli.session import Session, agent_zipapp, open_session, quiet
from provisioner.engine.host import HostState
from provisioner.errors import BadInput
from provisioner.inventory import GATEWAY
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_table

COLUMNS = (
    "name",
    "address",
    "state",
    "listening",
    "since_age",
    "last_seen_age",
    "owner",
    "created_age",
    "key",
)
Command = Callable[..., Any]
_WORKERS = click.argument("workers", metavar="WORKER…", nargs=-1)
_INVENTORY = click.argument("inventory", type=PATH)
_YES = click.option("--yes", is_flag=True, help="Don't ask.")


def _options(command: Command) -> Command:
    return with_options(
        command, (EXTRA_VARS, connection_options, output_option(), CHECK, DIFF, VERBOSE)
    )


@click.group()
def gateway() -> None:
    """The gateway host: prepare it, see who has a place on it, cut workers off, renew keys."""


@gateway.command(short_help="Prepare the gateway host alone, or show what its administrator must.")
@click.argument("inventory", type=PATH, required=False)
@run_options
def prepare(request: Request) -> int:
    """Prepare the gateway host for tunnels; `up` does so by itself.

    With `gateway.manage: false` it only looks, and prints the commands that are still to be given
    there. INVENTORY is ./inventory.yaml when it is not given.
    """
    playbook = shipped_playbook("gateway", request.playbooks)
    alone = replace(request, limit=GATEWAY)
    return run_called(alone, playbook, ["b9prov", "gateway", "prepare"])


@gateway.command(short_help="Print what an administrator must still type on the gateway host.")
@click.argument("inventory", type=PATH, required=False)
@EXTRA_VARS
@connection_options
def commands(**options: Any) -> int:
    """Print the commands that root must still give on the gateway host; nothing when it is ready.

    For `gateway.manage: false`: | ssh ADMIN@GATEWAY sudo sh -eu. INVENTORY is ./inventory.yaml when
    it is not given.
    """
    found = ask_gateway(gateway_session(Request(**options), "gateway_commands", {}), "b9_commands")
    if found is None:
        return INTERRUPTED
    click.echo("".join(commands for _, commands in found), nl=False)
    return 0


@gateway.command(short_help="Show who has a place there, and whose tunnel is up.")
@click.argument("inventory", type=PATH, required=False)
@EXTRA_VARS
@connection_options
@output_option()
def workers(output: str | None, **options: Any) -> int:
    """Show every worker's key, address and owner, and whether its tunnel is up and since when.

    INVENTORY is ./inventory.yaml when it is not given. Workers of other inventories are shown too.
    """
    request = Request(output=output, **options)
    session = gateway_session(request, "gateway_workers", {})
    found = ask_gateway(session, "b9_workers")
    if found is None:
        return INTERRUPTED
    rows = [{"gateway": host, **row} for host, row in found]
    kind = output_kind(output)
    shown = rows if kind == "json" else [_readable(row) for row in rows]
    several = ("gateway",) if session.inventory.gateway.standby else ()
    render_table((*COLUMNS, *several), shown, kind, sys.stdout, "workers")
    return 0


@gateway.command(short_help="Cut workers off, open connections too.")
@_INVENTORY
@_WORKERS
@_options
@_YES
def revoke(inventory: Path, workers: tuple[str, ...], yes: bool, **options: Any) -> int:
    """Cut workers off at the gateway host: their keys are taken out and their sessions ended.

    The workers themselves are not asked. Their addresses stay theirs, and `up` refuses them, until
    `restore` lets them in again or `down` takes them out for good.
    """
    return _change(Request(inventory=inventory, **options), workers, "revoke", yes)


@gateway.command(short_help="Let revoked workers in again.")
@_INVENTORY
@_WORKERS
@_options
@_YES
def restore(inventory: Path, workers: tuple[str, ...], yes: bool, **options: Any) -> int:
    """Let revoked workers in again, with the keys and addresses that they had."""
    return _change(Request(inventory=inventory, **options), workers, "restore", yes)


@gateway.command("rotate-keys", short_help="Give workers new tunnel keys.")
@_INVENTORY
@_WORKERS
@click.option("--limit", metavar="PATTERN", help="In place of workers' names, as for `up`.")
@_options
def rotate_keys(
    inventory: Path, workers: tuple[str, ...], limit: str | None, **options: Any
) -> int:
    """Give workers new tunnel keys; their tunnels are down for as long as they take to connect.

    WORKERs are names or groups of the inventory, or `all`. The old key holds until the tunnel is up
    with the new one.
    """
    return _rotate("rotate-keys", inventory, workers, limit, {}, options)


@gateway.command("rotate-tokens", short_help="Give workers new tokens for their k3s.")
@_INVENTORY
@_WORKERS
@click.option("--limit", metavar="PATTERN", help="In place of workers' names, as for `up`.")
@_options
def rotate_tokens(
    inventory: Path, workers: tuple[str, ...], limit: str | None, **options: Any
) -> int:
    """Give the gateway a new token for each worker's k3s; the old one is void at once.

    WORKERs are names or groups of the inventory, or `all`. Their agents register anew, which takes
    seconds; what runs in the k3s is not touched.
    """
    magic = {"b9agent_pyz": agent_zipapp()}
    return _rotate("rotate-tokens", inventory, workers, limit, magic, options)


def _rotate(
    what: str,
    inventory: Path,
    workers: tuple[str, ...],
    limit: str | None,
    magic: dict[str, Any],
    options: dict[str, Any],
) -> int:
    _named(workers or ((limit,) if limit else ()), "all for every one")
    request = Request(inventory=inventory, limit=limit or ",".join(workers), **options)
    playbook = shipped_playbook(what.replace("-", "_"), None)
    session = open_session(request, playbook, magic)
    return run_playbook(session, request, ["b9prov", "gateway", what, str(inventory)])


def gateway_session(request: Request, playbook: str, magic: dict[str, Any]) -> Session:
    """For a playbook of the gateway host alone. Raises BadInput."""
    asked = replace(request, limit=GATEWAY)
    return open_session(asked, shipped_playbook(playbook, None), magic)


def ask_gateway(session: Session, fact: str) -> list[tuple[str, Any]] | None:
    """The items of the list that the session's playbook leaves in a fact of a gateway host, each
    with the name of that host; None when the user interrupted it."""
    run = session.run(quiet)
    if run.execute().interrupted:
        say("interrupted: nothing was changed")
        return None
    hosts = [run.hosts[name] for name in session.inventory.gateway.hosts]
    return [(host.name, item) for host in hosts for item in _left_by(host, fact)]


def _left_by(host: HostState, fact: str) -> list[Any]:
    if not host.summary.well:
        advice = f" ({host.summary.advice})" if host.summary.advice else ""
        name = "the gateway host" if host.name == GATEWAY else host.name
        raise click.ClickException(f"{name}: {host.summary.reason}{advice}")
    return list(host.left(fact) or ())


def _change(request: Request, names: tuple[str, ...], what: str, yes: bool) -> int:
    _named(names, "`b9prov gateway workers` lists them")
    chosen = {"chosen_workers": list(names), "slot_state": f"{what}d"}
    session = gateway_session(request, "revoke", chosen)
    question = f"{what.capitalize()} {', '.join(names)}?"
    if not (yes or request.check or confirmed(question)):
        return FAILED
    words = ["b9prov", "gateway", what, str(request.inventory), *names, "--yes"]
    return run_playbook(session, request, words)


def _named(workers: tuple[str, ...], advice: str) -> None:
    if not workers:
        raise BadInput.of("no worker is named", advice=advice)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    """The row with how long ago in place of when."""
    ages = {f"{name}_age": _age(row[name]) for name in ("since", "last_seen", "created")}
    return row | ages


def _age(moment: float | None) -> float | None:
    return None if moment is None else round(max(0.0, time.time() - moment), 1)
