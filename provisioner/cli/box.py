"""`b9prov box`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

from provisioner.cli.box_down import box_down
from provisioner.cli.box_list import box_list, box_types
from provisioner.cli.box_up import Wanted, box_up
from provisioner.cli.options import (
    EXTRA_VARS,
    JUNIT,
    PATH,
    VERBOSE,
    Request,
    connection_options,
    folder_options,
    output_option,
)
from provisioner.clouds import PROVIDERS
from provisioner.errors import BadInput

_PROVIDER = click.Choice(list(PROVIDERS))
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?")


@click.group()
def box() -> None:
    """Rented machines: launch them as ready workers, see what they cost, end them."""


@box.command(short_help="Launch machines, and make them ready workers.")
@click.argument("inventory", type=PATH, required=False)
@click.option("--provider", type=_PROVIDER, required=True, help="Where.")
@click.option("--type", "kind", required=True, metavar="TYPE", help="As `box types` lists them.")
@click.option("--region", required=True, metavar="REGION", help="The region, or location.")
@click.option(
    "--name", required=True, metavar="NAME", help="Its name; of several, the begin of it."
)
@click.option(
    "--count", type=click.IntRange(1, 50), default=1, show_default=True, help="How many: NAME-1, …"
)
@click.option("--image", metavar="ID", help="By default: the provider's own Ubuntu for that type.")
@click.option(
    "--wait",
    type=click.FloatRange(min=1),
    default=1200,
    show_default=True,
    metavar="SECONDS",
    help="How long they may take until they can be logged in to.",
)
@click.option("--pool", metavar="POOL", help="The worker pool; short for -e pool=POOL.")
@EXTRA_VARS
@folder_options
@connection_options
@output_option()
@JUNIT
@VERBOSE
def up(
    provider: str,
    kind: str,
    region: str,
    name: str,
    count: int,
    image: str | None,
    wait: float,
    **options: Any,
) -> int:
    """Launch machines at a cloud, and make them ready workers of INVENTORY's gateway.

    INVENTORY, ./inventory.yaml when it is not given, says which gateway, and by `defaults`, groups
    and `sources` how the machines are to be. Run again, it goes on where it was ended, and launches
    none twice. Whatever goes wrong, the last lines say what costs money and how to end it.
    """
    if not _NAME.fullmatch(name):
        advice = "lower-case letters, digits and '-', 50 at most"
        raise BadInput.of(f"--name {name!r} is no host name", advice=advice)
    names = (name,) if count == 1 else tuple(f"{name}-{each}" for each in range(1, count + 1))
    given: Path | None = options["inventory"]
    words = ["b9prov", "box", "up", *([str(given)] if given else [])]
    words += ["--provider", provider, "--type", kind, "--region", region, "--name", name]
    words += ["--count", str(count)] if count > 1 else []
    words += ["--image", image] if image else []
    wanted = Wanted(provider, kind, region, names, image, wait, tuple(words))
    return box_up(Request(**options), wanted)


@box.command("list", short_help="Show machines, their states and prices.")
@click.argument("inventory", type=PATH, required=False)
@click.option("--provider", type=_PROVIDER, help="Only this cloud.")
@EXTRA_VARS
@output_option()
def list_(provider: str | None, **options: Any) -> int:
    """Show the machines of the accounts that INVENTORY's sources name, or that there are
    credentials for, and those that were launched from here.

    INVENTORY is ./inventory.yaml when it is not given and there is one. `worker` is how far
    `box up` came: launched, reached, ready.
    """
    return box_list(Request(**options), provider)


@box.command(short_help="Show what can be rented now, where, and its price.")
@click.argument("inventory", type=PATH, required=False)
@click.option("--provider", type=_PROVIDER, help="Only this cloud.")
@EXTRA_VARS
@output_option()
def types(provider: str | None, **options: Any) -> None:
    """Show what types of machines there are, which regions have one now, and the price per hour."""
    box_types(Request(**options), provider)


@box.command(short_help="End machines: drain, undo `up`, terminate.")
@click.argument("names", metavar="NAME…", nargs=-1, required=True)
@click.option(
    "-i", "--inventory", type=PATH, help="By default: the one that they were launched with."
)
@click.option("--force", is_flag=True, help="End them also where `up` can't be undone on them.")
@click.option("--yes", is_flag=True, help="Don't ask.")
@EXTRA_VARS
@folder_options
@connection_options
@output_option()
def down(names: tuple[str, ...], force: bool, yes: bool, **options: Any) -> int:
    """End machines, with all that is on them: drained, taken out of the gateway, terminated.

    NAMEs are those of machines that were launched from here, or that the inventory's sources have.
    A machine that its provider has ended already is taken out of the gateway.
    """
    return box_down(Request(**options), names, yes, force)
