"""`b9prov demo`."""

from __future__ import annotations

import shlex
import sys

import click

from provisioner.cli.failures import INTERRUPTED, say
from provisioner.cli.lab import boot
from provisioner.cli.options import Request, output_kind
from provisioner.cli.session import open_session
from provisioner.cli.up import bring_up
from provisioner.cli.workers import Row, ask_status
from provisioner.lab import Lab, lab_down
from provisioner.lab.drill import Machine, admitted_jobs, kill_tunnel, reboot
from provisioner.paths import shipped_playbook
from provisioner.report.tables import render_status

LAB = "default"
LIGHT = {"ollama": "ollama-stand-in", "kubernetes": "k3s-stand-in"}
REAL = {"ollama": "Ollama", "kubernetes": "kube-apiserver (behind a thin k3s)"}


@click.command()
@click.option(
    "--workers", type=click.IntRange(min=1), default=2, show_default=True, help="How many workers."
)
@click.option("--real", is_flag=True, help="With the real Ollama and Kubernetes, built here.")
@click.option("--drill/--no-drill", default=True, help="Whether to break things and watch.")
@click.option("--keep/--down", default=True, help="Whether the lab stays when all is shown.")
def demo(workers: int, real: bool, drill: bool, keep: bool) -> int:
    """See it all work, on real Debian hosts on this machine.

    Boots a lab, runs `up` on it, shows the status, then kills a tunnel and reboots a worker to
    show them come back by themselves. A second time, `up` finds nothing to change.
    """
    running = boot(LAB, workers, real)
    _introduce(running, real)
    request = Request(inventory=running.inventory_path)
    if code := bring_up(request):
        return code
    rows = _status(request)
    if rows is None:
        return INTERRUPTED
    parts = REAL if real else LIGHT
    machines = _show_jobs(running, rows, parts["kubernetes"])
    if drill:
        _drill(running, machines)
    _conclude(running, keep)
    return 0


def _introduce(running: Lab, real: bool) -> None:
    _heading("what this is")
    names = ", ".join(host.name for host in running.worker_hosts)
    click.echo(f"{names}: Debian with its own systemd and sshd, and a gateway host")
    click.echo("real: OpenSSH, the tunnels, b9agent, systemd, everything that b9prov does")
    if real:
        click.echo("real: Ollama, and Kubernetes' API server and controllers behind a thin k3s")
        click.echo("stand-ins: the reference gateway (for Beta9's)")
    else:
        click.echo("stand-ins: reference gateway (for Beta9's), ollama-stand-in, k3s-stand-in")
        click.echo("           (`b9prov demo --real` has the real Ollama and Kubernetes)")
    _heading("b9prov up")


def _status(request: Request) -> list[Row] | None:
    _heading("b9prov status")
    rows = ask_status(open_session(request, shipped_playbook("status", None), {}))
    if rows is not None:
        render_status(rows, output_kind(None), sys.stdout)
    return rows


def _show_jobs(running: Lab, rows: list[Row], kubernetes: str) -> dict[str, Machine]:
    """Say which Job the gateway made on each worker; the workers' machines."""
    _heading("a Job through each reverse tunnel")
    ids = {row["name"]: str(row["machine_id"]) for row in rows}
    known = admitted_jobs(running, list(ids.values()))
    machines = {name: known[machine_id] for name, machine_id in ids.items()}
    for name, machine in machines.items():
        where = f"{machine.address}:6443, the tunnel to {name}"
        click.echo(f"{machine.job}: admitted by the {kubernetes} at {where}")
    return machines


def _drill(running: Lab, machines: dict[str, Machine]) -> None:
    _heading("what if")
    first, last = next(iter(machines)), next(reversed(machines))
    seconds = kill_tunnel(running, first, machines[first].address)
    click.echo(f"{first}'s tunnel was killed: the gateway reached {first} again in {seconds:.1f} s")
    say(f"rebooting {last} …")
    seconds = reboot(running, last, machines[last])
    click.echo(f"{last} was rebooted: its tunnel and its agent were back in {seconds:.1f} s")


def _conclude(running: Lab, keep: bool) -> None:
    if not keep:
        lab_down(LAB, progress=say)
        return
    _heading("what to type next")
    inventory = shlex.quote(str(running.inventory_path))
    click.echo(f"b9prov status {inventory}")
    click.echo(f"b9prov up {inventory}      # again: nothing to change")
    click.echo(f"b9prov down {inventory}    # undo it all on the hosts")
    click.echo("b9prov lab down            # the lab itself")


def _heading(text: str) -> None:
    click.echo(f"\n== {text}")
