"""What `b9prov init` tries of an answer: does SSH reach it, is there sudo, a GPU, a gateway."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, NamedTuple

from fabric import Connection

from provisioner.gateway.channel_http import session_over
from provisioner.gateway.client import GatewayClient
from provisioner.gateway.errors import GatewayError
from provisioner.inventory import Host
from provisioner.ssh.connect import Unreachable, connect, hang_up
from provisioner.ssh.hostkeys import NEW, fingerprint
from provisioner.ssh.showing import show, stops
from provisioner.ssh.stream import stream_as_root

LEAST_PYTHON = (3, 9)
SECONDS = 15.0  # for the gateway to answer
_LOOK = """
python3 -c 'import sys; print("python", *sys.version_info[:2])' 2>/dev/null
command -v nvidia-smi >/dev/null && timeout 20 nvidia-smi -L
for each in /sys/bus/pci/devices/*; do
  case "$(cat $each/vendor 2>/dev/null)$(cat $each/class 2>/dev/null)" in
    0x10de0x03*) echo pci ;;
  esac
done
true
"""


class Finding(NamedTuple):
    """One thing that was tried: what of, how it went, what to do about it."""

    what: str
    ok: bool
    found: str
    advice: str = ""


def new_key(host: Host) -> str | None:
    """The fingerprint of a key that was never seen before; None where it is known or can't be had.

    Whether it can be reached at all is for `worker` and `gateway_host` to tell.
    """
    try:
        shown = show(stops(host)[-1])
    except Unreachable:
        return None
    return fingerprint(shown.key) if shown.verdict.state == NEW else None


def worker(host: Host) -> tuple[list[Finding], int | None]:
    """What is found of a worker, and the number of its GPUs, None where that can't be told."""
    findings: list[Finding] = []
    gpus = None
    with _connected(host, findings) as connection:
        if connection is not None:
            said = _as_root(connection, findings)
            if said is not None:
                findings.append(_python(said))
                finding, gpus = _gpus(said)
                findings.append(finding)
    return findings, gpus


def gateway_host(host: Host, api: str, token: str | None, pool: str | None) -> list[Finding]:
    """What is found of the gateway's host, and of the gateway as seen from there.

    Without a `token` nothing is said of it and of the `pool`.
    """
    findings: list[Finding] = []
    with _connected(host, findings) as connection:
        if connection is not None:
            _as_root(connection, findings)
            session = session_over(connection.transport, SECONDS)
            client = GatewayClient(f"http://{api}", token or "", session, SECONDS)
            findings.append(_tried("gateway", client.health, f"answers at {api}"))
            if findings[-1].ok and token:
                findings.append(_tried("token", lambda: _administer(client), "administers it"))
                if findings[-1].ok and pool:
                    asked = lambda: client.list_machines(pool)  # noqa: E731
                    findings.append(_tried("pool", asked, f"{pool} is there"))
    return findings


def _administer(client: GatewayClient) -> None:
    try:
        client.pools()
    except GatewayError as error:
        if error.code != "pools_unready":
            raise


def _tried(what: str, act: Any, well: str) -> Finding:
    try:
        act()
    except GatewayError as error:
        return Finding(what, False, error.message, error.advice)
    return Finding(what, True, well)


@contextmanager
def _connected(host: Host, findings: list[Finding]) -> Iterator[Connection | None]:
    try:
        connection = connect(replace(host, connect_timeout=min(host.connect_timeout, SECONDS)))
    except Unreachable as error:
        findings.append(Finding("ssh", False, error.reason, error.advice))
        yield None
        return
    findings.append(Finding("ssh", True, f"logged in to {host.address} as {connection.user}"))
    try:
        yield connection
    finally:
        hang_up(connection)


def _as_root(connection: Connection, findings: list[Finding]) -> list[str] | None:
    """What the look says as root; None without sudo."""
    said: list[str] = []
    code = stream_as_root(connection, ["sh", "-c", _LOOK], None, said.append)
    if code == 0:
        findings.append(Finding("sudo", True, "works without a password"))
        return said
    why = said[-1] if said else f"exit code {code}"
    advice = "let it work without a password, or set become_password in the inventory"
    findings.append(Finding("sudo", False, why, advice))
    return None


def _python(said: list[str]) -> Finding:
    found = next((line.split()[1:] for line in said if line.startswith("python ")), None)
    if found and tuple(map(int, found)) >= LEAST_PYTHON:
        return Finding("python", True, ".".join(found))
    what = ".".join(found) if found else "no python3"
    return Finding("python", False, what, "install Python 3.9 or newer there")


def _gpus(said: list[str]) -> tuple[Finding, int]:
    named = [match[1] for line in said if (match := re.match(r"GPU \d+: (.*?)(?: \(UUID|$)", line))]
    if named:
        return Finding("gpu", True, f"{len(named)}: {', '.join(dict.fromkeys(named))}"), len(named)
    seen = said.count("pci")
    if seen:
        advice = "install it, or have b9prov do it: nvidia.install_driver: true"
        return Finding("gpu", False, f"{seen} on the PCI bus, but no driver answers", advice), seen
    return Finding("gpu", True, "none of NVIDIA's is seen"), 0
