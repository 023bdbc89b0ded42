"""Options that several commands share."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from provisioner.cli.completing import complete_hosts

Command = Callable[..., Any]

PATH = click.Path(path_type=Path)
DIRECTORY = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True)
class Request:
    """What the user asked of a run, as it was on the command line."""

    inventory: Path | None = None
    hosts: tuple[str, ...] = ()
    gateway_host: str | None = None
    pool: str | None = None
    limit: str | None = None
    tags: tuple[str, ...] = ()
    skip_tags: tuple[str, ...] = ()
    check: bool = False
    diff: bool = False
    forks: int = 50
    extra_vars: tuple[str, ...] = ()
    output: str | None = None
    junit: Path | None = None
    report: Path | None = None
    playbooks: Path | None = None
    templates: Path | None = None
    host_keys: str = "strict"
    ask_become_pass: bool = False
    lock_wait: float = 60.0
    shard: tuple[int, int] | None = None
    executor: str | None = None
    resume: str | None = None
    verbose: int = 0
    refresh: bool = False


def host_or_limit(host: str | None, limit: str | None) -> str | None:
    """The hosts that HOST or --limit names; click.UsageError when both are given."""
    if host and limit:
        raise click.UsageError("HOST and --limit name the same thing; give one of them")
    return host or limit


def output_option(*kinds: str) -> Callable[[Command], Command]:
    """`--output`; None, when not given, is for `output_kind` to choose."""
    choice = kinds or ("rich", "plain", "json")
    default = "rich on a terminal, else plain" if "rich" in choice else choice[0]
    return click.option(
        "--output", type=click.Choice(choice), help=f"How to show it. By default: {default}."
    )


def output_kind(output: str | None) -> str:
    """The kind of output asked for, or the one that suits where stdout goes."""
    from provisioner.report import auto_kind

    return output or auto_kind(sys.stdout)


refresh_option = click.option(
    "--refresh", is_flag=True, help="Ask the clouds under `sources` anew, whatever is kept."
)
host_keys_option = click.option(
    "--host-keys",
    type=click.Choice(["strict", "accept-new"]),
    default="strict",
    show_default=True,
    help="Whether to believe and remember the keys of hosts not seen before.",
)
ask_become_pass_option = click.option(
    "-K",
    "--ask-become-pass",
    is_flag=True,
    help="Ask for sudo's password, for hosts without a become_password.",
)
_SOURCE = (
    click.option(
        "--host",
        "hosts",
        multiple=True,
        metavar="USER@ADDRESS[:PORT]",
        help="A host to work on, instead of an inventory. May be repeated.",
    ),
    click.option(
        "--gateway-host",
        metavar="USER@ADDRESS[:PORT]",
        help="The gateway host, for --host. The admin token is taken from B9_ADMIN_TOKEN.",
    ),
    click.option("--pool", metavar="POOL", help="The worker pool; short for -e pool=POOL."),
)
LIMIT = click.option(
    "--limit",
    metavar="PATTERN",
    help="Only these hosts: names, groups, a*, !x, @FILE.",
    shell_complete=complete_hosts,
)
EXTRA_VARS = click.option(
    "-e", "--extra-vars", multiple=True, metavar="NAME=VALUE", help="As for `up`."
)
_VARIABLES = (
    LIMIT,
    click.option(
        "-e",
        "--extra-vars",
        multiple=True,
        metavar="NAME=VALUE",
        help="Set a variable on all hosts: NAME=VALUE, a mapping in braces, or @FILE. Repeatable.",
    ),
    click.option(
        "--playbooks",
        type=DIRECTORY,
        help="A folder whose playbooks and roles go before those shipped.",
    ),
    click.option(
        "--templates", type=DIRECTORY, help="A folder whose templates go before those shipped."
    ),
    refresh_option,
)
_CONNECTING = (
    click.option(
        "--forks", type=click.IntRange(min=1), default=50, show_default=True, help="Hosts at once."
    ),
    host_keys_option,
    ask_become_pass_option,
    click.option(
        "--lock-wait",
        type=click.FloatRange(min=0),
        default=60,
        show_default=True,
        metavar="SECONDS",
        help="How long to wait for another run on the same host.",
    ),
)


class Shard(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """`I/N`: the I-th of N equal parts of the hosts."""

    name = "I/N"

    def convert(self, value: Any, param: Any, context: Any) -> tuple[int, int]:
        """The two numbers; fails for what is no part."""
        part, _, parts = str(value).partition("/")
        if part.isdigit() and parts.isdigit() and 1 <= int(part) <= int(parts):
            return int(part), int(parts)
        self.fail(f"{value!r} is no part; write I/N with I from 1 to N, such as 2/8", param)


_RESUMING = (
    click.option(
        "--resume",
        is_flag=False,
        flag_value="last",
        metavar="[ID]",
        help="Skip what run ID, by default the last one of its kind, has proven done on a host.",
    ),
)
_SPREADING = (
    click.option(
        "--shard",
        type=Shard(),
        metavar="I/N",
        help="Only the I-th of N equal parts of the hosts, for jobs that share an inventory.",
    ),
    click.option(
        "--executor",
        metavar="dask://HOST:PORT",
        help="Spread the hosts over a Dask cluster (needs b9prov[dask]).",
    ),
)
JUNIT = click.option("--junit", type=PATH, metavar="FILE", help="Also write a JUnit report.")
REPORT = click.option(
    "--report", type=PATH, metavar="FILE", help="Also write a report as one HTML file."
)
CHECK = click.option("--check", is_flag=True, help="Show what would change; touch nothing.")
DIFF = click.option("--diff", is_flag=True, help="Show how files change.")
VERBOSE = click.option("-v", "--verbose", count=True, help="Show more of what tasks returned.")
_RUNNING = (
    click.option("--tags", multiple=True, metavar="TAGS", help="Only tasks with these tags."),
    click.option("--skip-tags", multiple=True, metavar="TAGS", help="No tasks with these tags."),
    CHECK,
    DIFF,
    output_option(),
    JUNIT,
    REPORT,
    VERBOSE,
)


def source_options(command: Command) -> Command:
    """Where hosts come from, when they are named on the command line."""
    return with_options(command, _SOURCE)


def variable_options(command: Command) -> Command:
    """Which hosts, with which variables and files."""
    return with_options(command, _VARIABLES)


def folder_options(command: Command) -> Command:
    """Playbooks and templates of the user's own."""
    return with_options(command, _VARIABLES[2:4])


def connection_options(command: Command) -> Command:
    """How to reach hosts."""
    return with_options(command, _CONNECTING)


def host_options(command: Command) -> Command:
    """All of these three: which hosts, with which variables, and how to reach them."""
    return with_options(command, (*_SOURCE, *_VARIABLES, *_CONNECTING))


def run_options(command: Command) -> Command:
    """All options of a run; the command gets them, and its inventory, as `request: Request`."""

    @functools.wraps(command)
    def gathered(**given: Any) -> Any:
        known = {name: given.pop(name) for name in Request.__dataclass_fields__ if name in given}
        return command(request=Request(**known), **given)

    options = (*_SOURCE, *_VARIABLES, *_CONNECTING, *_RESUMING, *_SPREADING, *_RUNNING)
    return with_options(gathered, options)


def with_options(command: Command, options: tuple[Callable[[Command], Command], ...]) -> Command:
    """The command with these options, shown in this order."""
    for option in reversed(options):
        command = option(command)
    return command
