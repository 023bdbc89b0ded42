"""`b9prov apply`."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner.cli.digests import what_differs
from provisioner.cli.failures import FAILED, say
from provisioner.cli.forecast import Forecast
from provisioner.cli.options import JUNIT, PATH, REPORT, Request, connection_options, output_option
from provisioner.cli.run_playbook import retry_hosts, run_playbook, source_words, unvalued
from provisioner.cli.session import Session, agent_zipapp, open_session
from provisioner.errors import BadInput
from provisioner.journal import Plan, load_plan
from provisioner.journal.planfile import HostPlan, differences
from provisioner.paths import shipped_playbook
from provisioner.report.text import number, one_line

_MOST = 5  # differences that are told of a host


@click.command()
@click.argument("file", type=PATH)
@click.option(
    "-e",
    "--extra-vars",
    multiple=True,
    metavar="NAME=VALUE",
    help="As for the plan, which keeps no values of it.",
)
@connection_options
@output_option()
@click.option("--diff", is_flag=True, help="Show how files change.")
@JUNIT
@REPORT
@click.option("-v", "--verbose", count=True, help="Show more of what tasks returned.")
def apply(file: Path, extra_vars: tuple[str, ...], **options: Any) -> int:
    """Carry out the plan in FILE, on its hosts, if all is still as it was planned.

    Playbook, inventory and variables must be those of the plan (else the exit code is 2). Each
    host is checked again first; where one is not as it was, nothing is touched on any of them
    (exit code 1).
    """
    plan = load_plan(file)
    request = _request(plan, extra_vars, Request(**options))
    session = _open(plan, request)
    own = ["b9prov", "apply", str(file), *(word for item in extra_vars for word in _again(item))]
    if code := _check_again(plan, session, request, own):
        return code
    return run_playbook(session, request, _repeated(plan, request), record_as=own)


def _again(item: str) -> list[str]:
    return ["-e", unvalued(item)]


def _repeated(plan: Plan, request: Request) -> list[str]:
    """The words that finish what the plan leaves undone: it can't be applied a second time."""
    if plan.request["playbook"] is None:
        return ["b9prov", "up", *source_words(request)]
    inventory = ["-i"] * bool(request.inventory)
    return ["b9prov", "play", plan.request["playbook"], *inventory, *source_words(request)]


def _request(plan: Plan, extra_vars: tuple[str, ...], given: Request) -> Request:
    """The plan's request on the plan's hosts, with what was given now."""
    asked = plan.request
    if asked["variables"] and not extra_vars:
        words = (word for each in asked["variables"] for word in ("-e", each))
        again = f"give them again: {shlex.join(words)}"
        raise BadInput.of("the plan was made with -e, whose values it doesn't keep", advice=again)
    return replace(
        given,
        inventory=_path(asked["inventory"]),
        hosts=tuple(asked["hosts"]),
        gateway_host=asked["gateway_host"],
        playbooks=_path(asked["playbooks"]),
        templates=_path(asked["templates"]),
        pool=asked["pool"],
        tags=tuple(asked["tags"]),
        skip_tags=tuple(asked["skip_tags"]),
        limit=",".join(retry_hosts(list(plan.hosts))),
        extra_vars=extra_vars or tuple(asked["variable_files"]),
    )


def _open(plan: Plan, request: Request) -> Session:
    """The session, of the very inputs of the plan. Raises BadInput."""
    own = _path(plan.request["playbook"])
    path = own or shipped_playbook("up", request.playbooks)
    # the plan's hosts may be gone from the inventory: what differs is to be told first
    session = open_session(replace(request, limit=None), path, {"b9agent_pyz": agent_zipapp()})
    if differing := what_differs(plan.digests, Forecast(session, plan.salt).digests):
        what = f"not as planned: {' and '.join(differing)}"
        raise BadInput.of(what, advice="plan anew")
    return replace(session, options=replace(session.options, limit=request.limit))


def _check_again(plan: Plan, session: Session, request: Request, own: list[str]) -> int:
    """Whether all hosts are as planned: 0. Else it is told, and what to exit with is returned."""
    options = replace(session.options, check=True, diff=True)
    forecast = Forecast(session, plan.salt)
    say(f"checking that {number(len(plan.hosts), 'host')} would change as planned")
    asked = replace(request, check=True, diff=True)
    checked = replace(session, options=options)
    code = run_playbook(checked, asked, own, forecast.execute, quiet=True, record_as=own)
    if code not in (0, FAILED):
        return code
    told = {**forecast.reasons, **_differences(plan, forecast.hosts)}
    for name, what in told.items():
        say(f"error: {name} is not as planned: {one_line(what)}")
    if not told:
        return 0
    say("nothing was touched; look at the hosts and plan anew")
    return FAILED


def _differences(plan: Plan, found: dict[str, HostPlan]) -> dict[str, str]:
    """Of each host that was checked well, what is not as planned."""
    told = {}
    for name, host in found.items():
        if name not in plan.hosts:
            told[name] = "it is not in the plan"
        elif each := differences(plan.hosts[name], host):
            more = [f"and {len(each) - _MOST} more differences"] if len(each) > _MOST else []
            told[name] = "; ".join(each[:_MOST] + more)
    return told


def _path(name: str | None) -> Path | None:
    return None if name is None else Path(name)
