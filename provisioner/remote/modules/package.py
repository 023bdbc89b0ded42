"""Packages, whatever the package manager, which has to be apt. Ansible's `package`: name, state."""

from __future__ import annotations

from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result
from provisioner.remote.modules import apt

# As in Ansible, whatever the package manager's own module takes.
ARGUMENTS = {**apt.ARGUMENTS, "use": Argument("str", default="auto", choices=("auto", "apt"))}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the packages into their state."""
    return apt.run(arguments, context)
