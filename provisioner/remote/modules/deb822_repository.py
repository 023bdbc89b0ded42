"""A repository of apt's in a file of its own. Ansible's `deb822_repository`: name, uris, suites…"""

from __future__ import annotations

import contextlib
import os
import re
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

FIELDS = {
    "allow_downgrade_to_insecure": Argument("bool"),
    "allow_insecure": Argument("bool"),
    "allow_weak": Argument("bool"),
    "architectures": Argument("list"),
    "by_hash": Argument("bool"),
    "check_date": Argument("bool"),
    "check_valid_until": Argument("bool"),
    "components": Argument("list"),
    "date_max_future": Argument("int"),
    "enabled": Argument("bool"),
    "inrelease_path": Argument("str"),
    "languages": Argument("list"),
    "name": Argument("str", required=True),
    "pdiffs": Argument("bool"),
    "signed_by": Argument("str"),
    "suites": Argument("list"),
    "targets": Argument("list"),
    "trusted": Argument("bool"),
    "types": Argument("list", default=["deb"]),
    "uris": Argument("list"),
}
ARGUMENTS = {
    **FIELDS,
    "mode": Argument("mode", default="0644"),
    "state": Argument("str", default="present", choices=("absent", "present")),
}
SOURCES = Path("/etc/apt/sources.list.d")
KEYRINGS = Path("/etc/apt/keyrings")
FETCH_TIMEOUT = 30
ARMOUR = b"-----BEGIN PGP PUBLIC KEY BLOCK-----"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """See that the repository's file and key are there, or are not."""
    for kind in arguments["types"]:
        if kind not in ("deb", "deb-src"):
            raise ModuleFailed(f"types is {kind!r}, must be one or more of: deb, deb-src")
    slug = re.sub(r"[^a-z0-9-]+", "", re.sub(r"[_\s]+", "-", arguments["name"].lower()))
    path = SOURCES / f"{slug}.sources"
    keys = [KEYRINGS / f"{slug}.{end}" for end in ("asc", "gpg")]
    if arguments["state"] == "absent":
        return _remove(path, keys, context)
    result: Result = {"changed": False, "dest": str(path), "key_filename": None}
    fields = {name: arguments[name] for name in FIELDS if arguments[name] is not None}
    if fields.get("signed_by"):
        key = _key(fields["signed_by"], keys, result, context)
        fields["signed_by"] = result["key_filename"] = key
        if key is None:
            fields["signed_by"] = arguments["signed_by"]
    result["repo"] = "".join(_line(name, value) for name, value in fields.items())
    contents = (files.peek(path), result["repo"].encode())
    if _place(path, contents[1], arguments["mode"], context):
        result["changed"] = True
        files.add_diff(result, context, path, contents)
    return {**files.describe(path), **result} if path.exists() else result


def _remove(path: Path, keys: list[Path], context: Context) -> Result:
    there = [each for each in (path, *keys) if each.exists()]
    result: Result = {"changed": bool(there), "repo": None, "dest": str(path)}
    result["key_filename"] = str(keys[-1])
    files.add_diff(result, context, path, (files.peek(path), b""))
    for each in there if not context.check else ():
        each.unlink()
    return result


def _key(signed_by: str, keys: list[Path], result: Result, context: Context) -> str | None:
    """The file of the key: a given one, or one for what an address gives; None: it is no file."""
    if os.path.isfile(signed_by):
        return signed_by
    if not urllib.parse.urlparse(signed_by).scheme:
        return None
    try:
        with urllib.request.urlopen(signed_by, timeout=FETCH_TIMEOUT) as answer:
            data: bytes = answer.read()
    except (OSError, ValueError) as error:
        raise ModuleFailed(f"Could not fetch signed_by key: {error}") from None
    if not data:
        return signed_by
    path = keys[0] if ARMOUR in data else keys[1]
    if not path.parent.is_dir() and not context.check:
        with contextlib.suppress(FileExistsError):
            path.parent.mkdir(mode=0o755)
    result["changed"] |= _place(path, data, "0644", context)
    return str(path)


def _place(path: Path, data: bytes, mode: str, context: Context) -> bool:
    """Have a file of this content and mode; returns whether that was a change."""
    if path.exists() and path.read_bytes() == data:
        return bool(files.set_attributes(path, {"mode": mode}, context.check)[1])
    if not context.check:
        files.write(path, data, {"mode": mode})
    return True


def _line(name: str, value: Any) -> str:
    special = {"name": "X-Repolib-Name", "uris": "URIs"}
    field = special.get(name, name.replace("_", "-").title())
    if isinstance(value, bool):
        value = "yes" if value else "no"
    elif isinstance(value, list):
        value = " ".join(map(str, value))
    value = str(value)
    if "\n" not in value:
        return f"{field}: {value}\n"
    lines = [f"    {line.strip() or '.'}\n" for line in value.strip().splitlines()]
    return f"{field}:\n{''.join(lines)}"
