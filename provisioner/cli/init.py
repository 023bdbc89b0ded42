"""`b9prov init`."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import click

from provisioner import wholefile
from provisioner.cli.confirm import agreed
from provisioner.cli.failures import FAILED, say
from provisioner.cli.newinventory import check, text_of
from provisioner.cli.options import host_keys_option
from provisioner.cli.questions import Given, NothingKept, Questions
from provisioner.errors import BadInput
from provisioner.paths import DEFAULT_INVENTORY
from provisioner.report.text import number


@click.command(short_help="Write an inventory, by a few questions whose answers are tried.")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path), default=DEFAULT_INVENTORY)
@click.option(
    "--host", "hosts", multiple=True, metavar="[USER@]ADDRESS[:PORT]", help="A worker. Repeatable."
)
@click.option("--user", metavar="USER", help="The SSH user of all hosts.")
@click.option("--identity-file", metavar="PATH", help="The private key for all hosts.")
@click.option("--gateway-host", metavar="[USER@]ADDRESS[:PORT]", help="The gateway host.")
@click.option(
    "--token", metavar="NAME|PATH", help="The variable, or the file, with the admin token."
)
@click.option("--pool", metavar="POOL", help="The worker pool.")
@click.option(
    "--gpu", type=click.Choice(["true", "false", "auto"]), help="Whether GPUs are wanted."
)
@click.option("--keep", is_flag=True, help="Keep answers whose test failed, without asking.")
@click.option("--no-test", is_flag=True, help="Try nothing, connect to nobody.")
@click.option("--force", is_flag=True, help="Replace FILE, without asking.")
@host_keys_option
def init(file: Path, force: bool, **given: Any) -> int:
    """Ask for hosts, user, key, gateway, token, pool and GPUs, and write the inventory FILE
    (./inventory.yaml when it is not given), with comments.

    Each answer is tried as it is given: does SSH reach the host, is there sudo, is a GPU seen, does
    the gateway answer; one that fails is asked for again or kept. What an option says is not asked.
    Without a terminal nothing is: --host and --gateway-host are needed then. The token itself is
    never written, only where it is found.
    """
    is_terminal = sys.stdin.isatty() and sys.stderr.isatty()
    options = Given(**given)
    if not is_terminal and not (options.hosts and options.gateway_host):
        advice = "say --host and --gateway-host, or run it on a terminal"
        raise BadInput.of("nobody is here to be asked", advice=advice)
    if not file.absolute().parent.is_dir():
        raise BadInput.of(f"{file} is in no folder", advice="make the folder first")
    if file.exists() and not force:
        if not is_terminal:
            raise BadInput.of(f"{file} is there already", advice="--force replaces it")
        if not agreed(f"{file} is there already. Replace it?"):
            return FAILED
    try:
        answers = Questions(options, is_terminal, file.absolute().parent).ask()
    except NothingKept as problem:
        say(f"error: {problem}")
        return FAILED
    check(answers, file.absolute().parent)
    wholefile.replace(file, text_of(answers, shlex.quote(str(file))).encode())
    said = f"{file}: {number(len(answers.hosts), 'host')}"
    variable = (answers.token or "").removeprefix("!env ")
    if variable != answers.token and variable not in os.environ:
        said += f"; set {variable} before you use it"
    click.echo(said)
    quoted = "" if file == DEFAULT_INVENTORY else f" {shlex.quote(str(file))}"
    click.echo(f"next: b9prov up{quoted} --check, then b9prov up{quoted}")
    return 0
