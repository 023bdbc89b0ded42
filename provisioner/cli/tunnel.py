"""`b9prov tunnel`."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click

from provisioner import wholefile
from provisioner.cli import kubeconfig
from provisioner.cli.completing import complete_hosts
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import EXTRA_VARS, PATH, host_keys_option
from provisioner.cli.session import Session
from provisioner.cli.sources import one_host
from provisioner.errors import BadInput
from provisioner.inventory import Host
from provisioner.ssh.connect import connect, hang_up
from provisioner.ssh.forward import LOOPBACK, Forward, PortTaken

LOOK_UP = 0.5  # seconds between looks whether the connection is still there
_WILDCARD = "0.0.0.0"  # noqa: S104 (recognised, not listened on)


class Use(NamedTuple):
    """How a forwarded port is used: what it is, environment for programs, a command to try."""

    what: str
    environment: dict[str, str]
    example: str


@click.command(short_help="Open a local port to a worker's k3s, agent or Ollama.")
@click.argument("inventory", type=PATH)
@click.argument("host", shell_complete=complete_hosts)
@click.argument("target", default="k3s", metavar="[k3s|agent|ollama|PORT]")
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@click.option(
    "--local-port",
    type=click.IntRange(1, 65535),
    help="The port on 127.0.0.1. By default: a free one.",
)
@EXTRA_VARS
@host_keys_option
def tunnel(
    inventory: Path,
    host: str,
    target: str,
    command: tuple[str, ...],
    local_port: int | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
) -> int:
    """Open a port on 127.0.0.1 that leads, through SSH, to a port on the loopback of HOST.

    It stays until Ctrl-C. With a COMMAND it stays until that has ended, which finds where to go in
    KUBECONFIG, OLLAMA_HOST or B9_URL; the exit code is the command's.
    """
    session = kubeconfig.kubeconfig_session(inventory, host, extra_vars, host_keys)
    chosen = one_host(session.inventory, host)
    far = far_end(chosen, target)
    connection = connect(chosen, host_keys)
    try:
        with (
            Forward(connection.transport, far, local_port or 0) as forward,
            _use(session, chosen, target, forward.port) as use,
        ):
            if command:
                return _run(command, use)
            _tell(use)
            return _hold(forward, chosen)
    except PortTaken:
        raise BadInput.of(f"port {local_port} is taken on this machine") from None
    finally:
        hang_up(connection)


def far_end(host: Host, target: str) -> tuple[str, int]:
    """Where it leads, as seen from the host. Raises click.UsageError."""
    if target == "k3s":
        return LOOPBACK, kubeconfig.PORT
    if target == "agent":
        port = int(host.variables["agent"]["control_port"])
        if not port:
            raise BadInput.of(f"{host.name}'s control API is off (agent.control_port: 0)")
        return LOOPBACK, port
    if target == "ollama":
        ollama = host.variables["ollama"]
        address = LOOPBACK if ollama["host"] == _WILDCARD else ollama["host"]
        return address, int(ollama["port"])
    if target.isdecimal() and 1 <= int(target) <= 65535:
        return LOOPBACK, int(target)
    raise click.UsageError(f"{target!r} is neither k3s, agent or ollama nor a port")


@contextmanager
def _use(session: Session, host: Host, target: str, port: int) -> Iterator[Use]:
    """How to use the port; a kubeconfig is there as long as it is."""
    here = f"{LOOPBACK}:{port}"
    if target == "k3s":
        with tempfile.TemporaryDirectory(prefix="b9prov-") as private:
            path = Path(private) / "kubeconfig"
            document = kubeconfig.ask_kubeconfig(session)
            if document is None:
                raise KeyboardInterrupt
            text = kubeconfig.rewritten(document, f"https://{here}", host.name)
            wholefile.replace(path, text.encode(), 0o600)
            yield Use(f"https://{here}", {"KUBECONFIG": str(path)}, "kubectl get nodes")
    elif target == "agent":
        url = f"http://{here}"
        yield Use(url, {"B9_URL": url}, f"curl {url}/status")
    elif target == "ollama":
        yield Use(f"http://{here}", {"OLLAMA_HOST": here}, "ollama list")
    else:
        yield Use(here, {"B9_URL": f"http://{here}"}, f"nc {LOOPBACK} {port}")


def _tell(use: Use) -> None:
    click.echo(f"{use.what}, until Ctrl-C; in another terminal:")
    for name, value in use.environment.items():
        if name not in use.example and value not in use.example and name != "B9_URL":
            click.echo(f"  export {name}={value}")
    click.echo(f"  {use.example}")


def _run(command: tuple[str, ...], use: Use) -> int:
    try:
        return subprocess.run(command, env={**os.environ, **use.environment}).returncode
    except OSError as error:
        raise BadInput.of(f"can't run {command[0]}: {error.strerror}") from None


def _hold(forward: Forward, host: Host) -> int:
    """Wait for Ctrl-C, or for the end of the connection."""
    try:
        while forward.is_active:
            time.sleep(LOOK_UP)
    except KeyboardInterrupt:
        say("closed")
        return 0
    say(f"error: the connection to {host.name} was lost")
    return FAILED
