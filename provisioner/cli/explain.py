"""`b9prov explain`."""

from __future__ import annotations

import click

from provisioner.codes import CODES, sections
from provisioner.errors import BadInput


@click.command(short_help="What a code such as B9-SSH-KEY means, and what mends it.")
@click.argument("codes", metavar="[CODE]…", nargs=-1)
def explain(codes: tuple[str, ...]) -> None:
    """Show what docs/troubleshooting.md says of each CODE; without one, all codes.

    The B9- in front may be left out.
    """
    wanted = [_known(code) for code in codes]
    if not wanted:
        width = max(map(len, CODES))
        for code, about in CODES.items():
            click.echo(f"{code:<{width}}  {about.title}")
        return
    click.echo("\n\n".join(f"{code}: {CODES[code].title}\n\n{sections()[code]}" for code in wanted))


def _known(code: str) -> str:
    name = code.upper() if code.upper().startswith("B9-") else f"B9-{code.upper()}"
    if name not in CODES:
        raise BadInput.of(f"{code} is no code of b9prov", advice="b9prov explain lists them all")
    return name
