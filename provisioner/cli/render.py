"""`b9prov render`."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click

from provisioner.cli.failures import say
from provisioner.cli.options import (
    PATH,
    Request,
    output_option,
    source_options,
    variable_options,
)
from provisioner.cli.session import agent_zipapp, open_session
from provisioner.engine.render import RenderedFile, render_host
from provisioner.errors import BadInput
from provisioner.paths import shipped_playbook
from provisioner.secrets import mask


@click.command()
@click.argument("inventory", type=PATH, required=False)
@source_options
@variable_options
@click.option(
    "--playbook",
    default="up",
    show_default=True,
    help="The playbook: the name of one that is shipped, or a file.",
)
@click.option(
    "--output-dir",
    type=click.Path(file_okay=False, path_type=Path),
    help="Lay the files out below this folder, as HOST/etc/….",
)
@output_option("plain", "json")
def render(
    inventory: Path | None,
    playbook: str,
    output_dir: Path | None,
    output: str | None,
    **options: Any,
) -> None:
    """Show the files that `up` would write to each host, without connecting; secrets masked.

    INVENTORY is ./inventory.yaml when it is not given.
    """
    request = Request(inventory=inventory, **options)
    own_file = Path(playbook).suffix in (".yaml", ".yml")
    path = Path(playbook) if own_file else shipped_playbook(playbook, request.playbooks)
    session = open_session(request, path, {"b9agent_pyz": agent_zipapp()})
    files: list[RenderedFile] = []
    for host in session.inventory.select(request.limit):
        files += render_host(session.playbook, session.inventory, host.name, session.options)
    if output_dir:
        _lay_out(files, output_dir)
    if output == "json":
        listed = [_described(file) for file in files]
        click.echo(json.dumps({"schema": 1, "files": listed}))
    elif not output_dir:
        _print(files)
    if output_dir:
        say(f"files below {output_dir}: {len(files)}")


def _print(files: list[RenderedFile]) -> None:
    for file in files:
        details = ", ".join(filter(None, (file.mode, file.owner)))
        click.echo(f"==> {file.host}:{file.path}" + (f" ({details})" if details else "") + " <==")
        click.echo(mask(file.content).rstrip("\n") + "\n")


def _lay_out(files: list[RenderedFile], folder: Path) -> None:
    for file in files:
        inside = os.path.normpath(file.path).lstrip("/")
        place = folder / file.host / inside
        if not place.resolve().is_relative_to(folder.resolve() / file.host):
            raise BadInput.of(f"{file.path} lies outside the host's tree")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(mask(file.content), encoding="utf-8")


def _described(file: RenderedFile) -> dict[str, Any]:
    return {
        "host": file.host,
        "path": file.path,
        "mode": file.mode,
        "owner": file.owner,
        "content": mask(file.content),
    }
