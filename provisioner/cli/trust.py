"""`b9prov trust`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from provisioner.cli.asking import unlock_keys
from provisioner.cli.confirm import agreed
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import EXTRA_VARS, PATH, Request, output_option
from provisioner.cli.recording import noted
from provisioner.cli.sources import extra_variables, open_inventory
from provisioner.errors import BadInput
from provisioner.inventory import Host, Inventory, is_gateway
from provisioner.journal import Record
from provisioner.report.tables import render_table
from provisioner.report.text import number
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.hostkeys import CHANGED, KNOWN, NEW, fingerprint
from provisioner.ssh.pool import LOCALHOST
from provisioner.ssh.showing import Shown, Stop, show, stops

COLUMNS = ("name", "address", "type", "fingerprint", "state")
STORED, REPLACED, UNREACHABLE = "stored", "replaced", "unreachable"
AT_ONCE = 50


@dataclass
class Seen:
    """A host or jump host, the key it showed, or why there is none."""

    stop: Stop
    shown: Shown | None = None
    problem: Unreachable | None = None
    expected: str | None = None
    done: str = ""

    @property
    def state(self) -> str:
        """What is known of its key, or was done with it."""
        return self.done or (self.shown.verdict.state if self.shown else UNREACHABLE)

    @property
    def as_expected(self) -> bool:
        """Whether its key has the fingerprint that the user has given, if so."""
        return not (self.shown and self.expected) or fingerprint(self.shown.key) == self.expected

    @property
    def row(self) -> dict[str, Any]:
        """For a listing."""
        key = self.shown and self.shown.key
        return {
            "name": self.stop.name,
            "address": self.stop.judge.place.name,
            "type": key and key.get_name(),
            "fingerprint": key and fingerprint(key),
            "state": self.state,
            "was": list(self.shown.verdict.old) if self.shown else [],
            "reason": self.problem and self.problem.reason,
        }


@click.command()
@click.argument("inventory", type=PATH, required=False)
@click.argument("patterns", nargs=-1, metavar="[PATTERN]...")
@EXTRA_VARS
@click.option("--yes", is_flag=True, help="Store new keys without asking, whoever showed them.")
@click.option(
    "--fingerprint",
    "fingerprints",
    multiple=True,
    metavar="HOST=SHA256:…",
    help="The key that HOST must show; it is stored without asking. Repeatable.",
)
@click.option(
    "--replace",
    "replaced",
    multiple=True,
    metavar="HOST",
    help="Let HOST's changed key take the place of the known one. Repeatable.",
)
@output_option("plain", "json")
def trust(
    inventory: Path | None,
    patterns: tuple[str, ...],
    extra_vars: tuple[str, ...],
    yes: bool,
    fingerprints: tuple[str, ...],
    replaced: tuple[str, ...],
    output: str | None,
) -> int:
    """Show the host keys of INVENTORY's hosts, and store new ones in your known_hosts.

    INVENTORY is ./inventory.yaml when it is not given. PATTERN, as for --limit, names some hosts;
    `gateway` is the gateway host, `gateways` with those that stand by. Jump hosts are asked for
    first. Compare the fingerprints with those that the consoles show
    (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub) before you agree. The exit code is 0 when
    every key is known or was stored.
    """
    request = Request(inventory=inventory, extra_vars=extra_vars)
    loaded = open_inventory(request, extra_variables(request))
    hosts = _chosen(loaded, patterns)
    if sys.stdin.isatty():
        unlock_keys(host for host in hosts if host.jump)
    every = _stops(hosts)
    expected = _expected(fingerprints, every)
    _refuse_unknown(replaced, every, "--replace")
    seen: list[Seen] = []
    # those behind a jump host can be asked when the jump host is trusted
    for depth in sorted({stop.depth for stop in every.values()}):
        stage = _look([stop for stop in every.values() if stop.depth == depth], expected)
        seen += stage
        if output != "json":
            render_table(COLUMNS, [each.row for each in stage], "plain", sys.stdout, "hosts")
        _settle(stage, frozenset(replaced), yes)
    if output == "json":
        render_table(COLUMNS, [each.row for each in seen], "json", sys.stdout, "hosts")
    _note(seen, loaded.source)
    return _told(seen, loaded.source)


def _note(seen: Sequence[Seen], source: str) -> None:
    """Have the audit log know which keys were stored."""
    stored = [each.stop.name for each in seen if each.done]
    if stored:
        command = shlex.join(["b9prov", "trust", source, *stored])
        with noted(Record(command, "", str(Path(source).resolve()))) as record:
            record.exit_code = 0


def _chosen(inventory: Inventory, patterns: Sequence[str]) -> list[Host]:
    """The hosts of the patterns; without one the gateway's and all others. Raises BadInput."""
    every = [*inventory.gateway.hosts.values(), *inventory.hosts.values()]
    chosen = [host for each in patterns for host in inventory.select(each)] if patterns else every
    return [host for host in chosen if host.name != LOCALHOST]


def _stops(hosts: Iterable[Host]) -> dict[str, Stop]:
    """All hosts and jump hosts by name, a jump host once."""
    found: dict[str, Stop] = {}
    for host in hosts:
        for stop in stops(host):
            found.setdefault(stop.name, stop)
    return found


def _expected(given: Sequence[str], every: dict[str, Stop]) -> dict[str, str]:
    found = {}
    for item in given:
        name, equals, wanted = item.partition("=")
        if not equals or not wanted.startswith("SHA256:"):
            advice = "write HOST=SHA256:…, as ssh-keygen -l shows it"
            raise BadInput.of(f"--fingerprint {item!r} is no fingerprint of a host", advice=advice)
        found[name] = wanted.rstrip("=")
    _refuse_unknown(found, every, "--fingerprint")
    return found


def _refuse_unknown(names: Iterable[str], every: dict[str, Stop], option: str) -> None:
    for name in names:
        if name not in every:
            advice = f"there are {', '.join(every)}"
            raise BadInput.of(f"{option}: no host is called {name!r}", advice=advice)


def _look(stage: Sequence[Stop], expected: dict[str, str]) -> list[Seen]:
    def look(stop: Stop) -> Seen:
        wanted = expected.get(stop.name)
        try:
            return Seen(stop, show(stop, wanted), expected=wanted)
        except Unreachable as problem:
            return Seen(stop, problem=problem, expected=wanted)

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return list(threads.map(look, stage))


def _settle(stage: Sequence[Seen], replaced: frozenset[str], yes: bool) -> None:
    """Store what is to be stored, if the user agrees."""
    wanted = [each for each in stage if each.as_expected and _may_be_stored(each, replaced)]
    told = [each for each in wanted if each.expected]
    asked = [each for each in wanted if not each.expected]
    if asked and (yes or (_is_terminal() and _agreed(asked))):
        told += asked
    for each in told:
        assert each.shown
        changed = each.state == CHANGED
        each.stop.judge.remember([each.shown.key], instead=changed)
        each.done = REPLACED if changed else STORED


def _may_be_stored(seen: Seen, replaced: frozenset[str]) -> bool:
    # a pin is in the inventory, where only its author may change it
    changed = seen.state == CHANGED and seen.stop.name in replaced and not seen.stop.pin
    return changed or seen.state == NEW


def _agreed(asked: Sequence[Seen]) -> bool:
    file = asked[0].stop.judge.place.files[0]
    names = [each.stop.name for each in asked if each.state == CHANGED]
    for each in asked:
        if each.state == CHANGED and each.shown:
            say(f"{each.stop.name}: {_change(each)}")
    instead = f", replacing what is known of {', '.join(names)}," if names else ""
    return agreed(f"Store {number(len(asked), 'key')}{instead} in {file}?")


def _change(seen: Seen) -> str:
    assert seen.shown
    return f"{' or '.join(seen.shown.verdict.old)} → {fingerprint(seen.shown.key)}"


def _told(seen: Sequence[Seen], source: str) -> int:
    """Say what is left to do; the exit code."""
    for each in seen:
        if each.done == REPLACED:
            say(f"{each.stop.name}: {_change(each)}, replaced")
        elif each.state != KNOWN and not each.done:
            say(f"{each.stop.name}: {_reason(each, source)}")
    if any(each.done and is_gateway(each.stop.name) for each in seen):
        again = shlex.join(["b9prov", "up", source, "--tags", "tunnel"])
        say(f"if the gateway host's key was another, tunnels refuse it until: {again}")
    well = all(each.as_expected and (each.done or each.state == KNOWN) for each in seen)
    return 0 if well else FAILED


def _reason(seen: Seen, source: str) -> str:
    name = seen.stop.name
    if seen.problem:
        return f"{seen.problem.reason} ({seen.problem.advice})"
    assert seen.shown
    if not seen.as_expected:
        return f"its key is not {seen.expected}: somebody may be in between"
    if seen.state == NEW:
        why = f"{seen.shown.verdict.why}; " if seen.shown.verdict.why else ""
        return (
            f"{why}not stored (agree on a terminal, or say --fingerprint {name}=SHA256:… or --yes)"
        )
    if seen.state == CHANGED and seen.stop.pin:
        found = fingerprint(seen.shown.key)
        return f"{_change(seen)}; once it is checked, set its host_key in {source}: {found}"
    if seen.state == CHANGED:
        command = shlex.join(["b9prov", "trust", source, "--replace", name])
        return f"{_change(seen)}; if its console shows the new one: {command}"
    return "its key is revoked: give the host a new one"


def _is_terminal() -> bool:
    return sys.stdin.isatty() and sys.stderr.isatty()
