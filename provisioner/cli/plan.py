"""`b9prov plan`."""

from __future__ import annotations

import secrets
import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from provisioner import __version__
from provisioner.cli.failures import BAD_INPUT, FAILED, report_failure, say
from provisioner.cli.forecast import Forecast
from provisioner.cli.options import PATH, Request, run_options
from provisioner.cli.run_playbook import retry_hosts, run_playbook, source_words, unvalued
from provisioner.cli.session import agent_zipapp, open_session
from provisioner.cli.sources import inventory_path
from provisioner.errors import BadInput
from provisioner.journal import Plan, save_plan
from provisioner.paths import shipped_playbook
from provisioner.report.text import number

CHANGES = 2  # the exit code of --detailed-exitcode for a plan that is not empty


@click.command()
@click.argument("inventory", type=PATH, required=False)
@run_options
@click.option("-o", "--out", type=PATH, required=True, metavar="FILE", help="Where to save it.")
@click.option("--playbook", type=PATH, help="The playbook; by default that of `up`.")
@click.option(
    "--detailed-exitcode",
    is_flag=True,
    help="Exit with 0 when there is nothing to do, 2 when there is, 1 for anything that fails.",
)
def plan(request: Request, out: Path, playbook: Path | None, detailed_exitcode: bool) -> int:
    """Show what `up` would change, and save it for `b9prov apply`.

    INVENTORY is ./inventory.yaml when it is not given. Nothing is touched. The file holds no
    secrets. Hosts that fail or can't be reached are not part of the plan.
    """
    try:
        made, code = make_plan(replace(request, check=True, diff=True), out, playbook)
    except BadInput as error:
        code = report_failure(error)
        return FAILED if detailed_exitcode and code == BAD_INPUT else code
    return CHANGES if detailed_exitcode and not code and made and made.changes else code


def make_plan(request: Request, out: Path, playbook: Path | None) -> tuple[Plan | None, int]:
    """Run in check mode and save what it predicts; the exit code of the run. Raises BadInput."""
    _refuse(request, out)
    path = playbook or shipped_playbook("up", request.playbooks)
    session = open_session(request, path, {"b9agent_pyz": agent_zipapp()})
    salt = secrets.token_hex(16)
    forecast = Forecast(session, salt)
    words = ["b9prov", "plan", *source_words(request), "-o", str(out)]
    words += ["--playbook", str(playbook)] if playbook else []
    code = run_playbook(session, request, words, execute=forecast.execute)
    if code not in (0, FAILED):
        return None, code
    hosts = forecast.hosts
    if not retry_hosts(list(hosts)):
        say("no plan is saved, since no host is left for it")
        return None, FAILED
    asked = _asked(request, playbook)
    made = Plan(__version__, time.time(), asked, salt, forecast.digests, hosts)
    save_plan(out, made)
    say(_told(made, out))
    return made, code


def _told(made: Plan, out: Path) -> str:
    hosts = number(len(made.hosts), "host")
    if not made.changes:
        return f"nothing to do on {hosts}; {out} says so"
    command = shlex.join(["b9prov", "apply", str(out)])
    return f"{number(made.changes, 'task')} on {hosts} would change something; next: {command}"


def _refuse(request: Request, out: Path) -> None:
    if request.executor:
        raise BadInput.of("plans are made by one controller", advice="leave out --executor")
    if request.resume:
        raise BadInput.of("plans look at everything", advice="leave out --resume")
    if not out.absolute().parent.is_dir() or out.is_dir():
        raise BadInput.of(f"-o {out}: no file can be there", advice="name a file in a folder")


def _asked(request: Request, playbook: Path | None) -> dict[str, Any]:
    """What `apply` has to know of the command. Values of -e may be secrets: it keeps files only."""
    files = [f"@{_absolute(item[1:])}" for item in request.extra_vars if item.startswith("@")]
    own = [unvalued(item) for item in request.extra_vars if not item.startswith("@")]
    return {
        "inventory": None if request.hosts else _absolute(inventory_path(request.inventory)),
        "hosts": list(request.hosts),
        "gateway_host": request.gateway_host,
        "playbook": playbook and _absolute(playbook),
        "playbooks": request.playbooks and _absolute(request.playbooks),
        "templates": request.templates and _absolute(request.templates),
        "pool": request.pool,
        "tags": list(request.tags),
        "skip_tags": list(request.skip_tags),
        "variable_files": files,
        "variables": own,
    }


def _absolute(path: str | Path) -> str:
    return str(Path(path).expanduser().resolve())
