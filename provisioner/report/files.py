"""Files that reports leave behind, written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioner.engine.events import HostSummary


def failed_hosts(hosts: Mapping[str, HostSummary]) -> list[str]:
    """The hosts of `RunFinished.hosts` that are not as described, in their order."""
    return [name for name, summary in hosts.items() if not summary.well]


def how_it_ended(summary: HostSummary) -> str:
    """`well`, `failed`, `unreachable`, or `stopped` because of other hosts."""
    if summary.unreachable:
        return "unreachable"
    if summary.failed:
        return "failed"
    return "stopped" if summary.stopped else "well"


def write_retry_file(path: Path, hosts: Sequence[str]) -> None:
    """Leave the hosts, one a line, for `--limit @FILE`; with none, no file remains."""
    if hosts:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, "".join(f"{host}\n" for host in hosts).encode())
    else:
        path.unlink(missing_ok=True)


def write_whole(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step, so that no reader meets half a file."""
    path = path.resolve()
    if path.exists() and not path.is_file():  # a pipe or a device is written to, not replaced
        path.write_bytes(content)
        return
    beside = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        with open(beside, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
