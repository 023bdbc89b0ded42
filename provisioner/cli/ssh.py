"""`b9prov ssh`."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from provisioner.cli.completing import complete_hosts
from provisioner.cli.options import EXTRA_VARS, PATH, host_keys_option
from provisioner.cli.sources import one_host, read_inventory
from provisioner.errors import BadInput
from provisioner.inventory import Host, parse_extra
from provisioner.ssh.connect import Unreachable, connection_to
from provisioner.ssh.hostkeys import STRICT, UntrustedHostKey
from provisioner.ssh.knownhosts import line_of, name_of
from provisioner.ssh.showing import show, stops


@click.command(short_help="Log in to a worker, as the inventory says.")
@click.argument("inventory", type=PATH)
@click.argument("host", shell_complete=complete_hosts)
@click.argument("command", nargs=-1, type=click.UNPROCESSED, metavar="[-- COMMAND…]")
@EXTRA_VARS
@host_keys_option
def ssh(
    inventory: Path,
    host: str,
    command: tuple[str, ...],
    extra_vars: tuple[str, ...],
    host_keys: str,
) -> int:
    """Log in to HOST with OpenSSH: its address, user, port, key, jump hosts and pinned host key are
    those of the inventory. With a COMMAND run that, as ssh does; the exit code is ssh's.
    """
    chosen = one_host(read_inventory(inventory, parse_extra(list(extra_vars))), host)
    with _host_key_options(chosen, host_keys) as options:
        try:
            return subprocess.run(
                ["ssh", *_login(chosen), *options, "--", chosen.address, *command]
            ).returncode
        except OSError as error:
            raise BadInput.of(f"can't run ssh: {error.strerror}") from None


def _login(host: Host) -> list[str]:
    options = ["-p", str(host.port)]
    options += ["-l", host.user] if host.user else []
    options += ["-J", host.jump] if host.jump else []
    if host.identity_file:
        options += ["-i", host.identity_file, "-o", "IdentitiesOnly=yes"]
    return options


@contextmanager
def _host_key_options(host: Host, host_keys: str) -> Iterator[list[str]]:
    """What makes ssh believe the pinned key and no other; without a pin, what known_hosts has.

    Raises Unreachable.
    """
    strict = "yes" if host_keys == STRICT else "accept-new"
    if host.host_key is None:
        # those that all other commands read: ssh itself does not ask HOME where they are
        files = " ".join(f'"{file}"' for file in connection_to(host).judge.place.files)
        yield ["-o", f"StrictHostKeyChecking={strict}", "-o", f"UserKnownHostsFile={files}"]
        return
    with tempfile.TemporaryDirectory(prefix="b9prov-") as private:
        path = Path(private) / "known_hosts"
        path.write_text(f"{_pinned_line(host)}\n")
        yield [
            *("-o", "StrictHostKeyChecking=yes", "-o", f"UserKnownHostsFile={path}"),
            *("-o", "GlobalKnownHostsFile=none"),
        ]


def _pinned_line(host: Host) -> str:
    name = name_of(host.address, host.port)
    if host.host_key and not host.host_key.startswith("SHA256:"):
        return f"{name} {host.host_key}"
    # ssh takes no fingerprints: the host is asked for the key that has it
    stop = stops(host)[-1]
    key = show(stop).key
    try:
        stop.judge.missing_host_key(None, host.address, key)
    except UntrustedHostKey as error:
        raise Unreachable(str(error), error.advice) from None
    return line_of(name, key.get_name(), key.asbytes(), hashed=False)
