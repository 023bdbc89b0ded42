"""Files that reports leave behind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from provisioner.engine.events import HostSummary
from provisioner.errors import BadInput
from provisioner.wholefile import replace


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


def check_writable(path: Path, what: str) -> None:
    """See, before a run, that a file can be written there. Raises BadInput."""
    folder = path.resolve().parent
    if path.is_dir():
        raise BadInput.of(f"the {what} file {path} is a folder", advice="name a file in it")
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        advice = f"is {folder} a folder of yours?"
        raise BadInput.of(f"cannot write the {what} file {path}", advice=advice)


def write_whole(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Replace `path` by `content` in one step; a pipe or a device is written to instead."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    replace(path, content, mode)
