"""Logins to machines that were just launched: with a key of ours, and to the host that we mean."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from provisioner.cli.box_account import session_on
from provisioner.cli.options import Request
from provisioner.clouds.record import REACHED, READY, Launched, Records
from provisioner.engine.host import HostState
from provisioner.errors import BadInput
from provisioner.inventory import Host, Inventory
from provisioner.ssh.connect import Unreachable, connect, hang_up

FACT = "b9_next_key"
DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
_FIRST_LOOK, _LONGEST = 0.5, 5.0  # seconds between two tries
Tell = Callable[[str], None]


def public_login_key(host: Host) -> str:
    """The public half of the key that the inventory logs in with, else of ssh's own.

    Raises BadInput.
    """
    home = Path("~/.ssh").expanduser()
    given = [Path(host.identity_file)] if host.identity_file else []
    for private in given or [home / name for name in DEFAULT_KEYS]:
        path = private.with_name(f"{private.name}.pub")
        try:
            return " ".join(path.read_text("utf-8").split()[:2])
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError) as error:
            raise BadInput.of(f"can't read the public key {path}: {error}") from None
    where = f"{given[0]}.pub" if given else f"a key such as {home / DEFAULT_KEYS[0]}.pub"
    advice = "set identity_file, or make one: ssh-keygen -t ed25519"
    raise BadInput.of(f"{host.name}: there is no {where} to log in with", advice=advice)


def await_logins(
    hosts: Sequence[Host], launched: Mapping[str, Launched], give_up: float, tell: Tell
) -> dict[str, str]:
    """The host key that each host showed, which is one of those that it may, once it lets us in.

    Until then nothing is sent to a host that shows another key. Raises Unreachable.
    """
    return {host.name: _await_login(host, launched[host.name], give_up, tell) for host in hosts}


def _await_login(host: Host, launched: Launched, give_up: float, tell: Tell) -> str:
    told, pause = "", _FIRST_LOOK
    while True:
        for key in launched.host_keys:
            try:
                hang_up(connect(replace(host, host_key=key)))
                return key
            except Unreachable as error:
                why = error
        if why.reason != told:
            told = why.reason
            tell(f"{host.name}: {told}")
        if time.monotonic() + pause > give_up:
            advice = f"{why.advice}; or wait longer with --wait"
            raise Unreachable(f"{host.name} let nobody in in time: {why.reason}", advice)
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST)


def rotate(
    inventory: Inventory,
    request: Request,
    extra: dict[str, Any],
    records: Records,
    shown: Mapping[str, str],
) -> None:
    """Give each host a key that no one else has seen, where it still has its first.

    What it is to be is written down before the host uses it, so that it is known however this ends.
    """
    first = []
    for name, key in shown.items():
        launched = records.all()[name]
        if launched.step in (REACHED, READY) or key in launched.host_keys[1:]:
            step = READY if launched.step == READY else REACHED
            records.put(replace(launched, host_keys=(key,), step=step))
        else:
            first.append(name)
    if not first:
        return
    limited = replace(request, limit=",".join(first))
    made = _asked(inventory, limited, extra, use=False)
    for host in made:
        left = host.left(FACT) or {}
        new = " ".join(str(left.get("stdout", "")).split()[:2])
        if not new.startswith("ssh-ed25519 "):
            raise Unreachable(f"{host.name} showed no new host key", "look at its /etc/ssh")
        launched = records.all()[host.name]
        records.put(replace(launched, host_keys=(shown[host.name], new)))
    for host in _asked(inventory, limited, extra, use=True):
        launched = records.all()[host.name]
        records.put(replace(launched, host_keys=launched.host_keys[1:], step=REACHED))


def _asked(
    inventory: Inventory, request: Request, extra: dict[str, Any], use: bool
) -> list[HostState]:
    hosts = session_on(inventory, request, extra, "box_key", {"use_next_key": use}).ask()
    if hosts is None:
        raise KeyboardInterrupt
    for host in hosts:
        if not host.summary.well:
            raise Unreachable(f"{host.name}: {host.summary.reason}", host.summary.advice or "")
    return hosts
