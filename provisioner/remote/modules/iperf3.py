"""Measures the network to an iperf3 server, one direction after the other.

Not of Ansible. `here` and `there` are the names of both ends, `addresses` where the other one may
be reached, of which the first that answers is taken, and `through` ssh's arguments for a way that
leads to the server's loopback. Returns `rows`, one for each direction, of which none fails the
task: what could not be measured has a `reason` and a `fix` in place of `gbps` (gigabits a second).
"""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from typing import Any

from provisioner.remote import process, sockets
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "here": Argument("str", required=True),
    "there": Argument("str", required=True),
    "addresses": Argument("list", default=()),
    "port": Argument("int", default=5201),
    "through": Argument("list", default=()),
    "seconds": Argument("int", default=5),  # of each direction
    "streams": Argument("int", default=4),
    "min_gbps": Argument("float", default=0.0),
    "unready": Argument("str", default=""),  # why there is no server, when it is known
    "timeout": Argument("float", default=5.0),  # seconds to connect
}

LOOPBACK = "127.0.0.1"
_SLOW_START = 1  # seconds that are not counted
_NO_CONNECTION = "unable to connect to server: "  # what iperf3 says before the system's reason
_BUSY = "the server is busy running a test"
_PATIENCE = 20.0  # seconds that a measurement may take beyond its own time
Row = dict[str, Any]


class _Unmeasured(Exception):
    """Why there is no figure, and what to do about it."""

    def __init__(self, reason: str, fix: str, reached: bool = True) -> None:
        super().__init__(reason)
        self.reason, self.fix, self.reached = reason, fix, reached


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Both directions; nothing in a dry run, since it loads the network."""
    if context.check:
        return {"changed": False, "skipped": True, "msg": "nothing is measured in a dry run"}
    here, there = arguments["here"], arguments["there"]
    shared = {
        "way": "tunnel" if arguments["through"] else "direct",
        "wanted": arguments["min_gbps"],
    }
    rows = [{"from": here, "to": there, **shared}, {"from": there, "to": here, **shared}]
    reached = True
    try:
        with _way(arguments) as (addresses, port):
            for row in rows:
                row.update(_first_measured(arguments, addresses, port, row["from"] == there))
    except _Unmeasured as error:
        reached = error.reached
        for row in rows:
            row.setdefault("reason", error.reason)
            row.setdefault("fix", error.fix)
    return {"changed": False, "reached": reached, "rows": [_judged(row) for row in rows]}


def _judged(row: Row) -> Row:
    """The row with whether it is fast enough; all keys, so that every row has the same."""
    gbps = row.get("gbps")
    ok = gbps is not None and gbps >= row["wanted"]
    if gbps is None or ok:
        return {"gbps": None, "retransmits": None, "reason": "", "fix": "", **row, "ok": ok}
    reason = f"{gbps:g} Gbit/s where {row['wanted']:g} are wanted"
    fix = "look at both ends' links (ethtool), MTU and CPU, or lower network.min_gbps"
    return {**row, "reason": reason, "fix": fix, "ok": False}


@contextlib.contextmanager
def _way(arguments: dict[str, Any]) -> Iterator[tuple[list[str], int]]:
    """Where a client may connect to, while the way is there. Raises _Unmeasured."""
    if arguments["unready"]:
        raise _Unmeasured(arguments["unready"], f"see what {arguments['there']} says of it")
    if shutil.which("iperf3") is None:
        raise _Unmeasured("iperf3 is not installed here", "install the package iperf3")
    if arguments["through"]:
        with _forward(arguments) as port:
            yield [LOOPBACK], port
    else:
        addresses = [str(each) for each in arguments["addresses"] if each]
        yield list(dict.fromkeys(addresses)), arguments["port"]


@contextlib.contextmanager
def _forward(arguments: dict[str, Any]) -> Iterator[int]:
    """A local port that leads to the server's, by ssh."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        port = int(free.getsockname()[1])
    target = f"{LOOPBACK}:{port}:localhost:{arguments['port']}"
    options = ("-N", "-o", "BatchMode=yes", "-o", "ExitOnForwardFailure=yes", "-L", target)
    with subprocess.Popen(
        ["ssh", *options, *map(str, arguments["through"])],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as ssh:
        try:
            deadline = time.monotonic() + 3 * arguments["timeout"]
            # a connection to see whether it is there would be the server's one client
            while not any(each.port == port for each in sockets.listeners()):
                if ssh.poll() is not None or time.monotonic() > deadline:
                    raise _Unmeasured(_why(ssh), "see journalctl -u b9-tunnel", reached=False)
                time.sleep(0.05)
            yield port
        finally:
            ssh.kill()


def _why(ssh: subprocess.Popen[str]) -> str:
    """What ssh said last of why there is no tunnel."""
    ssh.kill()
    said = ssh.stderr.read().strip().splitlines() if ssh.stderr else []
    return f"no tunnel: {said[-1] if said else 'no connection in time'}"


def _first_measured(
    arguments: dict[str, Any], addresses: list[str], port: int, reverse: bool
) -> Row:
    """By the first address where there is a connection. Raises _Unmeasured."""
    refusals = []
    for address in addresses:
        try:
            return _measured(arguments, address, port, reverse)
        except _Unmeasured as error:
            if error.reached:
                raise
            refusals.append(f"{address}:{port}: {error.reason}")
    fix = f"let {arguments['here']} connect to TCP port {port} of {arguments['there']}"
    raise _Unmeasured("; ".join(refusals) or "no address is known", fix, reached=False)


def _measured(arguments: dict[str, Any], address: str, port: int, reverse: bool) -> Row:
    """Rate and retransmissions of one direction, as the receiver counted. Raises _Unmeasured."""
    command = ["iperf3", "--json", "--client", address, "--port", str(port)]
    command += ["--connect-timeout", str(round(1000 * arguments["timeout"]))]
    command += ["--time", str(arguments["seconds"]), "--omit", str(_SLOW_START)]
    command += ["--parallel", str(arguments["streams"]), *(["--reverse"] if reverse else [])]
    patience = arguments["timeout"] + arguments["seconds"] + _SLOW_START + _PATIENCE
    outcome = process.run(command, timeout=patience)
    give_up = time.monotonic() + arguments["timeout"]
    # it takes only one client, and a moment to see that the one before has gone
    while _BUSY in outcome.stdout and time.monotonic() < give_up:
        time.sleep(0.1)
        outcome = process.run(command, timeout=patience)
    if outcome.timed_out:
        raise _Unmeasured(
            f"iperf3 did not end within {patience:g} s", "is a packet filter between?"
        )
    return _figures(outcome)


def _figures(outcome: process.Outcome) -> Row:
    """What iperf3 says of a test that it made. Raises _Unmeasured."""
    try:
        answer = json.loads(outcome.stdout)
        if "error" in answer:
            why, _, system = str(answer["error"]).partition(_NO_CONNECTION)
            if system:
                raise _Unmeasured(system, "", reached=False)
            raise _Unmeasured(why, "see the server's own log")
        end = answer["end"]
        return {
            "gbps": round(end["sum_received"]["bits_per_second"] / 1e9, 3),
            "retransmits": end["sum_sent"].get("retransmits"),
        }
    except (ValueError, KeyError, TypeError):
        said = outcome.said.splitlines()[-1] if outcome.said else f"exit code {outcome.rc}"
        raise _Unmeasured(f"iperf3: {said}", "is its version 3.1 or newer?") from None
