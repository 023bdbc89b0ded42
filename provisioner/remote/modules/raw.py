"""Runs a command line as it is. Ansible's `raw`: the line itself, executable."""

from __future__ import annotations

import os
import shlex
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {"cmd": Argument("str", required=True), "executable": Argument("str")}
FREE_FORM = "cmd"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Let a shell run the line; that always counts as a change."""
    if context.check:
        return {"changed": False, "skipped": True}
    return execute(arguments["cmd"], arguments["executable"])


def execute(line: str, executable: str | None = None) -> Result:
    """Run a line by `executable -c` (default sh); shared with `script`.

    Unlike with `shell`, the output keeps the empty lines at its end, as Ansible has it.
    """
    own = {name: os.environ[name] for name in process.LOCALE if name in os.environ}
    # as Ansible: `executable` may have options of its own
    command = f"{executable} -c {shlex.quote(line)}" if executable else line
    outcome = process.run(command, env=own)
    result: Result = {"changed": True, "rc": outcome.rc}
    for name, text in (("stdout", outcome.stdout), ("stderr", outcome.stderr)):
        result.update({name: text, f"{name}_lines": text.splitlines()})
    if outcome.rc != 0:
        raise ModuleFailed("non-zero return code", **result)
    return result
