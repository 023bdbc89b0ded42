"""The packages of this host as facts. Ansible's `package_facts`: manager, strategy."""

from __future__ import annotations

import shutil
from typing import Any

from provisioner.remote import dpkg, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "manager": Argument("list", default=["auto"]),
    "strategy": Argument("str", default="first", choices=("first", "all")),
}
FIELDS = ("Package", "binary:Package", "Version", "Architecture", "Section", "db:Status-Status")


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return the installed packages as the fact `packages`."""
    managers = [str(name).lower() for name in arguments["manager"]]
    if not ({"auto", "apt"} & set(managers)) or not shutil.which("dpkg-query"):
        raise ModuleFailed(
            f"Could not detect a supported package manager from the following list: {managers}; "
            "only apt is supported"
        )
    native = process.run(["dpkg", "--print-architecture"], timeout=dpkg.TIMEOUT).stdout.strip()
    packages: dict[str, list[dict[str, str]]] = {}
    for name, qualified, version, architecture, section, status in dpkg.query(FIELDS):
        if status == "installed":
            key = name if architecture in ("all", native) else qualified
            entry = {"name": key, "version": version, "arch": architecture}
            packages[key] = [{**entry, "category": section, "source": "apt"}]
    return {"changed": False, "ansible_facts": {"packages": packages}}
