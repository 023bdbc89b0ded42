"""A group of this host. Ansible's `group`: name, gid, system, state, force, gid_min…"""

from __future__ import annotations

import grp
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "gid": Argument("int"),
    "system": Argument("bool", default=False),
    "non_unique": Argument("bool", default=False),
    "force": Argument("bool", default=False),
    "gid_min": Argument("int"),
    "gid_max": Argument("int"),
}
TIMEOUT = 120


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make, renumber or remove the group."""
    name = arguments["name"]
    if arguments["non_unique"] and arguments["gid"] is None:
        raise ModuleFailed("non_unique is True but all of the following are missing: gid")
    argv = _command(arguments, find(name))
    if argv and not context.check:
        outcome = process.run(argv, timeout=TIMEOUT)
        if outcome.rc != 0:
            raise ModuleFailed(outcome.said or f"{argv[0]} failed", name=name, rc=outcome.rc)
    result: Result = {"changed": bool(argv), "name": name, "state": arguments["state"]}
    now = find(name)
    if now and arguments["state"] == "present":
        result.update(gid=now.gr_gid, system=arguments["system"])
    return result


def find(name: str) -> grp.struct_group | None:
    """A group by name or number."""
    try:
        return grp.getgrgid(int(name)) if name.isdigit() else grp.getgrnam(name)
    except KeyError:
        return None


def _command(arguments: dict[str, Any], existing: grp.struct_group | None) -> list[str]:
    name, gid = arguments["name"], arguments["gid"]
    number = [] if gid is None else ["-g", str(gid)]
    if number and arguments["non_unique"]:
        number.append("-o")
    if arguments["state"] == "absent":
        return ["groupdel", *(["-f"] if arguments["force"] else []), name] if existing else []
    if existing is None:
        if arguments["system"]:
            number.append("-r")
        for limit in ("gid_min", "gid_max"):
            if arguments[limit] is not None:
                number += ["-K", f"{limit.upper()}={arguments[limit]}"]
        return ["groupadd", *number, name]
    if gid is not None and gid != existing.gr_gid:
        return ["groupmod", *number, name]
    return []
