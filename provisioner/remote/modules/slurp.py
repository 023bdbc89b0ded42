"""Reads a file into the result. Ansible's `slurp`: src."""

from __future__ import annotations

import base64
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {"src": Argument("str", required=True, aliases=("path",))}
LIMIT = 16 * 1024 * 1024


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return the file's content in base64."""
    path = files.expand(arguments["src"])
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except FileNotFoundError:
        raise ModuleFailed(f"File not found: {path}") from None
    except IsADirectoryError:
        raise ModuleFailed(f"Source is a directory and must be a file: {path}") from None
    except OSError as error:
        raise ModuleFailed(f"Unable to read {path}: {error.strerror}") from None
    if len(data) > LIMIT:
        raise ModuleFailed(f"{path} is larger than {LIMIT} bytes, too large to slurp")
    content = base64.b64encode(data).decode("ascii")
    return {"changed": False, "content": content, "encoding": "base64", "source": path}
