"""A control group per host, so that the systemds of two hosts do not share one tree.

Where systemd runs this machine, it makes the group (a scope). Where it does not, as in a container
or a bare VM, the group is made by hand in every mounted hierarchy, below the one we are in.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_PREPARE = 'while [ "$1" != -- ]; do echo 0 >"$1/cgroup.procs"; shift; done; shift; '


def wrap(name: str, script: str, argv: list[str], record: Path) -> list[str]:
    """A command that runs the shell `script` with `argv` in the control group `name`.

    The groups made by hand are listed in the file `record`, for `remove`.
    """
    if Path("/run/systemd/system").is_dir():
        # A name of its own each time: systemd may not have let go of an ended scope's yet.
        unit = f"--unit={name}-{secrets.token_hex(3)}"
        scope = ["systemd-run", "--scope", "--quiet", "--collect", unit]
        return [*scope, "--property=Delegate=yes", "sh", "-c", script, name, *argv]
    groups = [_make(parent, name) for parent in _own_groups()]
    record.write_text("".join(f"{group}\n" for group in groups))
    return ["sh", "-c", _PREPARE + script, name, *map(str, groups), "--", *argv]


def remove(record: Path) -> None:
    """Remove the groups that `wrap` made, once nothing runs in them."""
    if not record.exists():
        return
    for group in map(Path, record.read_text().split()):
        for directory, _, _ in os.walk(group, topdown=False):
            with contextlib.suppress(FileNotFoundError):
                Path(directory).rmdir()
    record.unlink()


def _make(parent: Path, name: str) -> Path:
    group = parent / name
    group.mkdir(exist_ok=True)
    for setting in ("cpuset.cpus", "cpuset.mems"):
        # A v1 cpuset starts empty and takes no process until it names CPUs and memory.
        if (group / setting).exists() and not (group / "cgroup.controllers").exists():
            (group / setting).write_text((parent / setting).read_text())
    return group


def _own_groups() -> list[Path]:
    """The directory of our own control group in each mounted hierarchy."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    groups = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for _, point, kind, options, *_ in mounts:
            v2 = kind == "cgroup2" and not controllers
            v1 = kind == "cgroup" and controllers
            if v2 or (v1 and set(controllers.split(",")) <= set(options.split(","))):
                groups.append(Path(point) / path.lstrip("/"))
                break
    return [group for group in groups if group.is_dir()]
