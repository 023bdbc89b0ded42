"""Host keys that ssh trusts. Ansible's `known_hosts`: name, key, path, state, hash_host."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True, aliases=("host",)),
    "key": Argument("str"),
    "path": Argument("str", default="~/.ssh/known_hosts"),
    "hash_host": Argument("bool", default=False),
    "state": Argument("str", default="present", choices=("present", "absent")),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Have the host's key of this type in the file, and only that; or have none of it."""
    name, present = arguments["name"].lower(), arguments["state"] == "present"
    path = Path(files.expand(arguments["path"]))
    wanted = _wanted(arguments, name)
    old = path.read_text("utf-8", "replace") if path.exists() else ""
    lines = old.splitlines(keepends=True)
    kept, there = [], False
    for line in lines:
        fields = _fields(line)
        if fields is None or not _names(fields[0], name):
            kept.append(line)
        elif wanted is None:
            continue  # all keys of the host go
        elif fields[1:] == wanted[1:]:
            if present and not there:
                kept.append(line)
                there = True
        elif fields[1] != wanted[1]:
            kept.append(line)  # one key of each type
    if present and not there and wanted:
        if kept and not kept[-1].endswith("\n"):
            kept[-1] += "\n"
        line = arguments["key"].strip()
        if arguments["hash_host"]:
            line = line.replace(wanted[0], _hashed(name), 1)
        kept.append(f"{line}\n")
    new = "".join(kept)
    result: Result = {"changed": new != old, "name": name, "path": str(path)}
    files.add_diff(result, context, path, (old.encode(), new.encode()) if new != old else None)
    if new != old and not context.check:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        files.write(path, new.encode(), {} if path.exists() else {"mode": "0644"})
    return result


def _wanted(arguments: dict[str, Any], name: str) -> tuple[str, str, str] | None:
    if not arguments["key"]:
        if arguments["state"] == "present":
            raise ModuleFailed("No key specified when adding a host")
        return None
    fields = _fields(arguments["key"])
    if fields is None:
        raise ModuleFailed("key is no line of a known_hosts file: NAME TYPE KEY")
    if not _names(fields[0], name):
        raise ModuleFailed(f"key is for {fields[0]}, not for {name}")
    return fields


def _fields(line: str) -> tuple[str, str, str] | None:
    """Names, type and key of a line; None for comments, markers (@revoked) and noise."""
    words = line.split()
    if len(words) < 3 or words[0].startswith(("#", "@")):
        return None
    return words[0], words[1], words[2]


def _names(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        parts = pattern.split("|")
        try:
            return len(parts) == 4 and _hashed(name, base64.b64decode(parts[2])) == pattern
        except ValueError:
            return False
    return name in (word.lower() for word in pattern.split(","))


def _hashed(name: str, salt: bytes | None = None) -> str:
    """A name as `HashKnownHosts` writes it."""
    salt = os.urandom(20) if salt is None else salt
    digest = hmac.new(salt, name.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"
