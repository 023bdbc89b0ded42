"""Says that modules run on the host. Ansible's `ping`: data."""

from __future__ import annotations

from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {"data": Argument("str", default="pong")}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return `data`; the word "crash" fails, as Ansible's does."""
    if arguments["data"] == "crash":
        raise ModuleFailed("boom")
    return {"changed": False, "ping": arguments["data"]}
