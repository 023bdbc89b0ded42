"""Puts content into a file. Ansible's `copy`, and what `template` becomes on the host.

The controller gives `content`, or `sha256` of content that is fetched when it is needed;
`remote_src` with `src` copies a file of this host. Further: dest, mode, owner, group, backup,
force, follow, validate, directory_mode.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "dest": Argument("str", required=True, aliases=("path",)),
    "content": Argument("str"),
    "sha256": Argument("str"),
    "src": Argument("str"),
    "remote_src": Argument("bool", default=False),
    "_original_basename": Argument("str"),
    "backup": Argument("bool", default=False),
    "force": Argument("bool", default=True, aliases=("thirsty",)),
    "follow": Argument("bool", default=False),
    "validate": Argument("str"),
    "directory_mode": Argument("mode"),
    **files.ATTRIBUTES,
}


class _Source:
    """Where the content comes from; reads a blob or a file only when it must."""

    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.context = context
        self.data: bytes | None = None
        self.path: Path | None = None
        self.name: str | None = arguments["_original_basename"]
        if arguments["content"] is not None:
            self.data = arguments["content"].encode("utf-8")
            self.sha256 = hashlib.sha256(self.data).hexdigest()
        elif arguments["sha256"]:
            self.sha256 = arguments["sha256"].lower()
        elif arguments["remote_src"] and arguments["src"]:
            self.path = Path(files.expand(arguments["src"]))
            if self.path.is_dir():
                raise ModuleFailed(f"src {self.path} is a directory; remote_src copies only files")
            if not self.path.is_file():
                raise ModuleFailed(f"Source {self.path} not found")
            self.sha256 = files.digest(self.path)
            self.name = self.name or self.path.name
        else:
            raise ModuleFailed("copy needs content, or src")

    def file(self) -> Path:
        """The path of content that is not in memory."""
        if self.path is None:
            self.path = self.context.blob(self.sha256)
        return self.path

    def put(self, target: Path) -> None:
        """Write the content into `target`."""
        if self.data is not None:
            target.write_bytes(self.data)
        else:
            shutil.copyfile(self.file(), target)

    def peek(self) -> bytes:
        """The content as far as a diff has use for it."""
        return self.data if self.data is not None else files.peek(self.file())


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make `dest` hold the content and have the attributes."""
    source = _Source(arguments, context)
    if arguments["mode"] == "preserve":
        if not arguments["remote_src"] or source.path is None:
            raise ModuleFailed("mode: preserve needs remote_src; otherwise give the mode")
        arguments = {**arguments, "mode": files.octal(source.path.stat().st_mode)}
    dest = _destination(arguments, source)
    result: Result = {"changed": False, "dest": str(dest)}
    present = dest.exists()
    if present and not arguments["force"]:
        return {**result, "msg": "file already exists", **files.describe(dest)}
    if dest.is_dir():
        raise ModuleFailed(f"{dest} is a directory; copy puts a file there", dest=str(dest))
    replaced_link = dest.is_symlink()
    same = present and not replaced_link and _same(source, dest)
    if same:
        before, after = files.set_attributes(dest, arguments, context.check)
        result["changed"] = bool(after)
        files.add_diff(result, context, dest, attributes=(before, after))
        return _finish(result, dest, source)
    result["changed"] = True
    if context.diff:
        files.add_diff(result, context, dest, (files.peek(dest), source.peek()))
    if context.check:
        return {**result, "sha256": source.sha256}
    if arguments["backup"] and present:
        result["backup_file"] = files.backup(dest)
    _make_parents(dest, arguments)
    with files.replacing(dest, arguments, arguments["validate"]) as temporary:
        source.put(temporary)
        if files.digest(temporary) != source.sha256:
            raise ModuleFailed(f"the content for {dest} arrived damaged: its SHA-256 is wrong")
    return _finish(result, dest, source)


def _same(source: _Source, dest: Path) -> bool:
    if source.data is not None and dest.stat().st_size != len(source.data):
        return False
    return files.digest(dest) == source.sha256


def _finish(result: Result, dest: Path, source: _Source) -> Result:
    return {**result, "sha256": source.sha256, **files.describe(dest)}


def _destination(arguments: dict[str, Any], source: _Source) -> Path:
    text = files.expand(arguments["dest"])
    dest = Path(text)
    if text.endswith("/") or dest.is_dir():
        if not source.name:
            raise ModuleFailed(f"dest {text} is a directory; with content, give a file name")
        dest = dest / source.name
    if arguments["follow"] and dest.is_symlink():
        dest = Path(os.path.realpath(dest))
    return dest


def _make_parents(dest: Path, arguments: dict[str, Any]) -> None:
    """Only `dest/` with its slash asks for a directory that isn't there, as with Ansible."""
    if dest.parent.is_dir():
        return
    if not arguments["dest"].endswith("/"):
        raise ModuleFailed(f"Destination directory {dest.parent} does not exist")
    missing = [p for p in (dest.parent, *dest.parent.parents) if not p.exists()]
    for directory in reversed(missing):
        directory.mkdir()
        if arguments["directory_mode"]:
            mode = files.parse_mode(arguments["directory_mode"], stat.S_IFDIR | 0o755, True)
            directory.chmod(mode)
