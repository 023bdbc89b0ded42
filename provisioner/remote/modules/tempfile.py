"""Makes a file or folder with a name of its own. Ansible's `tempfile`: state, path, prefix…"""

from __future__ import annotations

import os
import tempfile
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "state": Argument("str", default="file", choices=("file", "directory")),
    "path": Argument("str"),
    "prefix": Argument("str", default="ansible."),
    "suffix": Argument("str", default=""),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make it, for its owner alone, and return its `path`."""
    prefix, suffix = arguments["prefix"], arguments["suffix"]
    for name, value in (("prefix", prefix), ("suffix", suffix)):
        if value != os.path.basename(value):
            raise ModuleFailed(f"{name} must be a valid file name component, got {value!r}")
    if context.check:
        msg = "remote module (tempfile) does not support check mode"
        return {"changed": False, "skipped": True, "msg": msg}
    folder = files.expand(arguments["path"]) if arguments["path"] else None
    try:
        if arguments["state"] == "directory":
            path = tempfile.mkdtemp(suffix, prefix, folder)
        else:
            descriptor, path = tempfile.mkstemp(suffix, prefix, folder)
            os.close(descriptor)
    except OSError as error:
        raise ModuleFailed(str(error)) from None
    return {"changed": True, "path": path, **files.describe(path)}
