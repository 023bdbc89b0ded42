"""A big file of known SHA-256, from the first source that has it; resumed, checked, unpacked.

`sources` are tried in order: URLs, paths of this host, or "controller" for the file `push` of the
controller, which it sends through the conversation. With `extract`, `dest` is the folder that the
archive is unpacked into, and a stamp there (`.NAME.sha256`) tells later runs what was unpacked;
without, `dest` is the file.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.remote import archive, download, files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "sources": Argument("list", aliases=("url", "src")),
    "push": Argument("str"),
    "sha256": Argument("str"),
    "dest": Argument("str", required=True, aliases=("path",)),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "extract": Argument("str", default="none", choices=("none", *archive.KINDS)),
    "name": Argument("str"),
    "creates": Argument("str"),
    "member": Argument("list"),
    "strip": Argument("int", default=0),
    "size": Argument("int", default=0),
    "timeout": Argument("float", default=60.0),
    "deadline": Argument("float", default=3600.0),
    **files.ATTRIBUTES,
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Have the artifact at `dest`, or have it gone."""
    if arguments["state"] == "present":
        _check(arguments)
    target = _Folder(arguments) if arguments["extract"] != "none" else _File(arguments)
    result: Result = {"changed": False, "dest": str(target.dest), "sha256": arguments["sha256"]}
    if arguments["state"] == "absent":
        return {**result, "changed": target.remove(context)}
    if target.is_there():
        result["changed"] = target.see_to_attributes(context)
        return result
    result["changed"] = True
    if context.diff:
        result["diff"] = {
            "before": "",
            "after": f"sha256: {arguments['sha256']}\n",
            "path": str(target.dest),
        }
    if context.check:
        return result
    fetched = _fetch(arguments, target.part, context)
    target.put(context)
    result.update(source=fetched.source, loaded=fetched.loaded, resumed=fetched.resumed)
    if fetched.refusals:
        result["refused"] = fetched.refusals
    return result


def _check(arguments: dict[str, Any]) -> None:
    arguments["sha256"] = (arguments["sha256"] or "").lower().strip()
    if not re.fullmatch("[0-9a-f]{64}", arguments["sha256"]):
        raise ModuleFailed("sha256 is required: 64 hexadecimal digits")
    if not arguments["sources"]:
        raise ModuleFailed("sources is required: at least one URL or path")


def _fetch(arguments: dict[str, Any], part: Path, context: Context) -> download.Fetched:
    wanted = download.Wanted(arguments["sha256"], _name(arguments), arguments["size"])
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        return download.fetch(
            [str(source) for source in arguments["sources"]],
            wanted,
            part,
            timeout=arguments["timeout"],
            deadline=time.monotonic() + arguments["deadline"],
            progress=context.progress,
            stream=_sender(arguments["push"], context),
        )
    except download.NoSource as error:
        msg = f"no source gave {wanted.label}: {error}"
        extra = {"refused": error.refusals, "sha256": wanted.sha256}
        raise ModuleFailed(msg, advice=error.advice, **extra) from None
    except OSError as error:
        raise ModuleFailed(f"cannot write {part}: {error.strerror}") from None


def _sender(push: str | None, context: Context) -> download.Stream:
    """What the controller sends, where it is one source among others that may fail."""

    def send(sha256: str, offset: int, sink: Callable[[bytes], object]) -> None:
        came = 0

        def take(data: bytes) -> None:
            nonlocal came
            came += len(data)
            sink(data)

        try:
            context.stream(sha256, offset, take)
        except ModuleFailed as error:
            raise download.BadSource(error.msg) from None
        if not came and not offset:
            raise download.BadSource(f"has no file {push}")

    return send


def _name(arguments: dict[str, Any]) -> str:
    """What people call it: also the stamp's name, so it must not change with the version."""
    if arguments["name"]:
        return str(arguments["name"])
    if arguments["extract"] != "none" and arguments["creates"]:
        return Path(arguments["creates"]).name
    return Path(files.expand(arguments["dest"])).name


class _File:
    """An artifact that is one file."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.dest = Path(files.expand(arguments["dest"]))
        self.part = Path(f"{self.dest}.part")
        if self.dest.is_dir():
            raise ModuleFailed(f"{self.dest} is a directory; name the file")

    def is_there(self) -> bool:
        return self.dest.is_file() and files.digest(self.dest) == self.arguments["sha256"]

    def see_to_attributes(self, context: Context) -> bool:
        return bool(files.set_attributes(self.dest, self.arguments, context.check)[1])

    def put(self, context: Context) -> None:
        attributes = {**self.arguments, "mode": self.arguments["mode"] or "0644"}
        files.set_attributes(self.part, attributes, check=False)
        self.part.replace(self.dest)

    def remove(self, context: Context) -> bool:
        there = [path for path in (self.dest, self.part) if os.path.lexists(path)]
        for path in there if not context.check else []:
            path.unlink()
        return bool(there)


class _Folder:
    """An artifact that is unpacked into a folder, where other things may be too."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.dest = Path(files.expand(arguments["dest"]))
        self.name = _name(arguments)
        self.part = self.dest / f".{self.name}.part"
        self.stamp = self.dest / f".{self.name}.sha256"

    def _stamped(self) -> dict[str, Any]:
        try:
            stamp = json.loads(self.stamp.read_text())
            return stamp if isinstance(stamp, dict) else {}
        except (OSError, ValueError):
            return {}

    def is_there(self) -> bool:
        stamp = self._stamped()
        same = stamp.get("sha256") == self.arguments["sha256"]
        return same and self._has_creates() and archive.sizes(self.dest, stamp.get("files", {}))

    def _has_creates(self) -> bool:
        creates = self.arguments["creates"]
        return not creates or (self.dest / files.expand(creates)).exists()

    def see_to_attributes(self, context: Context) -> bool:
        changed = False
        for name in self._stamped().get("files", {}):
            changed |= self._own(self.dest / name, context.check)
        return changed

    def _own(self, path: Path, check: bool) -> bool:
        """Owner and group are for all files, the mode is the archive's unless one is named."""
        wanted = {name: self.arguments[name] for name in ("owner", "group")}
        if self.arguments["mode"] and self.arguments["member"]:
            wanted["mode"] = self.arguments["mode"]
        return bool(files.set_attributes(path, wanted, check, follow=False)[1])

    def put(self, context: Context) -> None:
        told = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal told
            if time.monotonic() - told >= 0.25:
                told = time.monotonic()
                context.progress(done, total, f"{self.name} (unpacking)")

        a, old = self.arguments, self._stamped()
        folders = set(old.get("folders", ()))

        def on_folder(name: str) -> None:
            # noted before it is made, so that a killed run's folders are known as ours
            folders.add(name)
            self._write_stamp(old.get("sha256", ""), old.get("files", {}), folders)

        # so a program without a stamp beside it is known to be somebody else's
        self._write_stamp(old.get("sha256", ""), old.get("files", {}), folders)
        members = a["member"] or ()
        try:
            made = archive.unpack(
                self.part, a["extract"], self.dest, members, a["strip"], progress, on_folder
            )
        except archive.BadArchive as error:
            raise ModuleFailed(str(error), sha256=a["sha256"]) from None
        for name in made:
            self._own(self.dest / name, check=False)
        if not self._has_creates():
            raise ModuleFailed(f"the archive was unpacked, but there is no {a['creates']}")
        left = self._delete(set(old.get("files", {})) - set(made), folders)
        self._write_stamp(a["sha256"], made, left)
        self.part.unlink()

    def _write_stamp(self, sha256: str, made: dict[str, int], folders: set[str]) -> None:
        stamp = {"sha256": sha256, "files": made, "folders": sorted(folders)}
        files.write(self.stamp, f"{json.dumps(stamp, indent=1)}\n".encode(), {"mode": "0644"})

    def _delete(self, names: set[str], folders: set[str]) -> set[str]:
        """Delete files, and the folders of ours that this leaves empty; the other folders."""
        for name in names:
            with contextlib.suppress(OSError):
                (self.dest / name).unlink()
        left = set()
        for folder in sorted(folders, reverse=True):
            try:
                (self.dest / folder).rmdir()
            except FileNotFoundError:
                continue
            except OSError:
                left.add(folder)
        return left

    def remove(self, context: Context) -> bool:
        there = [path for path in (self.stamp, self.part) if path.exists()]
        if there and not context.check:
            stamp = self._stamped()
            self._delete(set(stamp.get("files", {})), set(stamp.get("folders", ())))
            for path in there:
                path.unlink()
        return bool(there)
