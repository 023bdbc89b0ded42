"""Runs a command line by a shell. Ansible's `shell`: cmd, executable, chdir, creates, removes…"""

from __future__ import annotations

from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import command

ARGUMENTS = {**command.COMMON, "executable": Argument("str")}
FREE_FORM = "cmd"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Let `executable` (default /bin/sh) run `cmd`."""
    line = arguments["cmd"]
    if not line:
        raise ModuleFailed("no command given")
    return command.execute(line, line, arguments["executable"], arguments, context)
