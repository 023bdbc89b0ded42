"""A service, in terms of systemd. Ansible's `service`: name, state, enabled."""

from __future__ import annotations

import shutil
from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import systemd

# What Ansible too takes and, where systemd is at work, ignores.
_IGNORED = {
    "use": Argument("str", default="auto", choices=("auto", "systemd")),
    "sleep": Argument("int"),
    "pattern": Argument("str"),
    "runlevel": Argument("str", default="default"),
    "arguments": Argument("str", default="", aliases=("args",)),
}
ARGUMENTS = {**systemd.ARGUMENTS, "name": Argument("str", required=True), **_IGNORED}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the service into its state."""
    if not shutil.which("systemctl"):
        raise ModuleFailed("this host has no systemd, and other service managers are not supported")
    return systemd.run(arguments, context)
