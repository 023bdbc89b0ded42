"""Looks into a name service database. Ansible's `getent`: database, key, split, fail_key."""

from __future__ import annotations

from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "database": Argument("str", required=True),
    "key": Argument("str"),
    "service": Argument("str"),
    "split": Argument("str"),
    "fail_key": Argument("bool", default=True),
}

COLONS = ("passwd", "shadow", "group", "gshadow")
TIMEOUT = 30
REASONS = {
    1: "Missing arguments, or database unknown.",
    2: "One or more supplied key could not be found in the database.",
    3: "Enumeration not supported on this database.",
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return the entries as the fact `getent_DATABASE`."""
    database, key = arguments["database"], arguments["key"]
    argv = ["getent", database, *([key] if key is not None else [])]
    argv += ["-s", arguments["service"]] if arguments["service"] else []
    outcome = process.run(argv, timeout=TIMEOUT)
    entries: dict[str, Any] = {}
    if outcome.rc == 2 and key is not None and not arguments["fail_key"]:
        facts = {f"getent_{database}": {key: None}}
        return {"changed": False, "msg": REASONS[2], "ansible_facts": facts}
    if outcome.rc != 0:
        raise ModuleFailed(REASONS.get(outcome.rc, outcome.said), rc=outcome.rc)
    separator = arguments["split"] or (":" if database in COLONS else None)
    for line in outcome.stdout.splitlines():
        name, *rest = line.split(separator)
        if name not in entries:
            entries[name] = rest
        elif entries[name] and isinstance(entries[name][0], list):
            entries[name].append(rest)
        else:  # one name, several entries: a list of lists, as Ansible has it
            entries[name] = [entries[name], rest]
    return {"changed": False, "ansible_facts": {f"getent_{database}": entries}}
