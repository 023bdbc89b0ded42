"""Keys that may log in. Ansible's `authorized_key`: user, key, key_options, state, exclusive…"""

from __future__ import annotations

import os
import pwd
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "user": Argument("str", required=True),
    "key": Argument("str", required=True),
    "key_options": Argument("str"),
    "comment": Argument("str"),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "exclusive": Argument("bool", default=False),
    "manage_dir": Argument("bool", default=True),
    "path": Argument("str"),
    "follow": Argument("bool", default=False),
}

_KIND = re.compile(r"^(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)[\w@.-]+$")
_WORD = re.compile(r'(?:"(?:\\.|[^"\\])*"|\S)+')


@dataclass(frozen=True)
class Key:
    """One line of an authorized_keys file."""

    options: str
    kind: str
    blob: str
    comment: str

    def __str__(self) -> str:
        return " ".join(filter(None, (self.options, self.kind, self.blob, self.comment)))


def parse(line: str) -> Key | None:
    """A line as a key; None for a comment, an empty line or one that is no key."""
    words = list(_WORD.finditer(line)) if not line.lstrip().startswith("#") else []
    for index in (0, 1):
        if len(words) > index + 1 and _KIND.match(words[index].group()):
            options = words[0].group() if index else ""
            comment = line[words[index + 1].end() :].strip()
            return Key(options, words[index].group(), words[index + 1].group(), comment)
    return None


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Have the keys in the file, or have them not in it."""
    path, account = _place(arguments, context)
    wanted = _wanted(arguments)
    old = path.read_bytes() if path.exists() else b""
    lines = old.decode("utf-8", "replace").splitlines()
    present = arguments["state"] == "present"
    kept = _present(lines, wanted, arguments) if present else _absent(lines, wanted)
    new = "".join(f"{line}\n" for line in kept).encode("utf-8", "replace")
    # an ending without a newline is no change of keys
    changed = kept != lines
    result: Result = {"changed": changed, "keyfile": str(path), "user": arguments["user"]}
    files.add_diff(result, context, path, (old, new) if changed else None)
    if present and arguments["manage_dir"] and account:
        result["changed"] |= _make_directory(path.parent, account, context)
    if changed and not context.check:
        owner = {"mode": "0600"}
        if account and not path.exists():
            owner.update(owner=str(account.pw_uid), group=str(account.pw_gid))
        files.write(path, new, owner)
    return result


def _place(arguments: dict[str, Any], context: Context) -> tuple[Path, pwd.struct_passwd | None]:
    try:
        account = pwd.getpwnam(arguments["user"])
    except KeyError:
        if context.check and arguments["path"]:
            return Path(arguments["path"]), None
        raise ModuleFailed(f"Failed to lookup user {arguments['user']}") from None
    text = arguments["path"] or "%h/.ssh/authorized_keys"
    path = Path(text.replace("%h", account.pw_dir).replace("%u", account.pw_name))
    return Path(os.path.realpath(path)) if arguments["follow"] else path, account


def _wanted(arguments: dict[str, Any]) -> list[Key]:
    keys = []
    for line in arguments["key"].splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = parse(line)
        if key is None:
            raise ModuleFailed(f"invalid key specified: {line[:40]}…")
        options = arguments["key_options"]
        comment = arguments["comment"]
        keys.append(
            Key(
                key.options if options is None else options,
                key.kind,
                key.blob,
                key.comment if comment is None else comment,
            )
        )
    if not keys:
        raise ModuleFailed("no key specified")
    return keys


def _present(lines: list[str], wanted: list[Key], arguments: dict[str, Any]) -> list[str]:
    """A key is the same when kind and blob are; then options and comment are brought in line."""
    missing = {(key.kind, key.blob): key for key in wanted}
    named = set(missing)
    kept = []
    for line in lines:
        key = parse(line)
        if key is None:
            kept += [] if arguments["exclusive"] else [line]
        elif (key.kind, key.blob) in missing:
            want = missing.pop((key.kind, key.blob))
            kept.append(line if key == want else str(want))
        elif (key.kind, key.blob) not in named and not arguments["exclusive"]:
            kept.append(line)
    return kept + [str(key) for key in missing.values()]


def _absent(lines: list[str], unwanted: list[Key]) -> list[str]:
    gone = {(key.kind, key.blob) for key in unwanted}
    keys = [(line, parse(line)) for line in lines]
    return [line for line, key in keys if key is None or (key.kind, key.blob) not in gone]


def _make_directory(directory: Path, account: pwd.struct_passwd, context: Context) -> bool:
    wanted = {"mode": "0700", "owner": str(account.pw_uid), "group": str(account.pw_gid)}
    changed = not directory.is_dir()
    if changed and not context.check:
        directory.mkdir(parents=True, mode=0o700)
    if directory.is_dir():
        changed |= bool(files.set_attributes(directory, wanted, context.check)[1])
    return changed
