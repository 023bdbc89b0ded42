"""`b9prov lab`."""

from __future__ import annotations

import re
import shlex
import sys
from typing import Any

import click

from provisioner.cli.failures import say
from provisioner.cli.options import output_kind, output_option
from provisioner.lab import Host, Lab, LabError, artifacts_dir, lab_down, lab_status, lab_up
from provisioner.lab.artifacts import build_real, build_standins
from provisioner.lab.lab import GATEWAY
from provisioner.lab.machine import require_machine
from provisioner.paths import cache_dir

COLUMNS = ("name", "address", "state", "up", "memory")


def _lab_name(context: click.Context, parameter: click.Parameter, name: str) -> str:
    """A lab's name is that of its folder too: `..` or nothing would name what is no lab's."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise click.BadParameter(
            f"{name!r} is no name for a lab: lower-case letters, digits and dashes"
        )
    return name


NAME = click.option(
    "--name", default="default", show_default=True, callback=_lab_name, help="Which lab."
)
HOST = click.argument("host")
REAL = click.option(
    "--real/--light",
    help="The real Ollama and Kubernetes, built here at first, or light stand-ins (the default).",
)


@click.group()
def lab() -> None:
    """Real Debian hosts on this machine, one of them a gateway host.

    They are systemd-nspawn containers with their own systemd and sshd. It needs root and Linux.
    """


@lab.command()
@click.option(
    "--workers",
    "--hosts",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="How many workers there are to be at least.",
)
@NAME
@REAL
def up(workers: int, name: str, real: bool) -> None:
    """Boot a lab, or what is missing of it."""
    running = boot(name, workers, real)
    path = shlex.quote(str(running.inventory_path))
    names = ", ".join(host.name for host in running.hosts)
    click.echo(f"lab {name} is up: {names}; its inventory is {path}")
    click.echo(f"next: b9prov up {path}")


@lab.command()
@NAME
def down(name: str) -> None:
    """Take a lab down and leave nothing of it."""
    there_was_one = lab_down(name, progress=say)
    click.echo(f"lab {name} is gone" if there_was_one else f"there is no lab {name}")


@lab.command()
@NAME
@output_option()
def status(name: str, output: str | None) -> None:
    """Show the hosts of a lab."""
    kind = output_kind(output)
    rows = lab_status(name)
    if kind != "json":
        rows = [_readable(row) for row in rows]
    columns = COLUMNS if kind != "json" else ("name",)
    render(columns, rows, kind)


@lab.command()
@HOST
@NAME
def stop(host: str, name: str) -> None:
    """Shut a host of a lab down, as its power button would."""
    _host(name, host).stop()
    click.echo(f"{host} is off")


@lab.command()
@HOST
@NAME
def start(host: str, name: str) -> None:
    """Boot a host of a lab that is off, and wait until it takes logins."""
    _host(name, host).start()
    _wait_served(name, host)
    click.echo(f"{host} is on")


@lab.command()
@HOST
@NAME
def reboot(host: str, name: str) -> None:
    """Reboot a host of a lab, and wait until it takes logins again."""
    chosen = _host(name, host)
    if not chosen.running():
        raise LabError(f"{host} is off", f"b9prov lab start {host} --name {name}")
    chosen.reboot()
    _wait_served(name, host)
    click.echo(f"{host} was rebooted")


@lab.command()
@NAME
@output_option("plain", "json")
def inventory(name: str, output: str | None) -> None:
    """Print the path of a lab's inventory."""
    path = Lab.load(name).inventory_path
    if output == "json":
        render(("path",), [{"path": str(path)}], "json")
    else:
        click.echo(path)


def _wait_served(lab_name: str, name: str) -> None:
    """With the gateway host, its reference gateway is to be back as well."""
    if name == GATEWAY:
        Lab.load(lab_name).wait_gateway()


def _host(lab_name: str, name: str) -> Host:
    require_machine()
    hosts = {host.name: host for host in Lab.load(lab_name).hosts}
    if name not in hosts:
        raise LabError(f"lab {lab_name} has no host {name}", f"there are {', '.join(hosts)}")
    return hosts[name]


def boot(name: str, workers: int, real: bool) -> Lab:
    """Bring a lab up, with what its mirror serves. Raises LabError."""
    require_machine()
    if real:
        build_real(artifacts_dir("real"), cache_dir() / "real", say)
    else:
        build_standins(artifacts_dir())
    return lab_up(name, workers, progress=say, artifacts="real" if real else "light")


def render(columns: tuple[str, ...], rows: list[dict[str, Any]], kind: str) -> None:
    """A listing on stdout."""
    from provisioner.report.tables import render_table

    key = "hosts" if "path" not in columns else "inventories"
    render_table(columns, rows, kind, sys.stdout, key)


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    if row["state"] == "off":
        return row
    return {**row, "up": f"{row['seconds']:.0f} s", "memory": f"{row['memory'] / 2**20:.0f} MiB"}
