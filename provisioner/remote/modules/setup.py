"""Gathers the facts again. Ansible's `setup`: filter, gather_subset."""

from __future__ import annotations

import fnmatch
from typing import Any

from provisioner.remote import facts
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "filter": Argument("list", default=()),
    "gather_subset": Argument("list", default=("all",)),
    "gather_timeout": Argument("int", default=10),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return `ansible_facts`, of them those whose names fit a pattern of `filter`.

    All are gathered at once, in milliseconds: subsets and a timeout have nothing to spare.
    """
    patterns = [str(pattern) for pattern in arguments["filter"] if pattern]
    return {"changed": False, "ansible_facts": select(facts.gather(), patterns)}


def select(found: dict[str, Any], patterns: list[str]) -> dict[str, Any]:
    """The facts that fit one of the patterns, which may leave out `ansible_`; all without any."""

    def fits(name: str) -> bool:
        short = name[len("ansible_") :]
        return any(fnmatch.fnmatch(name, p) or fnmatch.fnmatch(short, p) for p in patterns)

    return {name: value for name, value in found.items() if not patterns or fits(name)}
