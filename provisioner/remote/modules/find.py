"""Finds files. Ansible's `find`: paths, patterns, excludes, file_type, recurse, age, size…"""

from __future__ import annotations

import errno
import fnmatch
import os
import re
import stat as modes
import time
from collections.abc import Iterator
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import stat

ARGUMENTS = {
    "paths": Argument("list", required=True, aliases=("name", "path")),
    "patterns": Argument("list", aliases=("pattern",)),
    "excludes": Argument("list", default=(), aliases=("exclude",)),
    "contains": Argument("str"),
    "read_whole_file": Argument("bool", default=False),
    "file_type": Argument("str", default="file", choices=("any", "directory", "file", "link")),
    "age": Argument("str"),
    "age_stamp": Argument("str", default="mtime", choices=("atime", "ctime", "mtime")),
    "size": Argument("str"),
    "recurse": Argument("bool", default=False),
    "hidden": Argument("bool", default=False),
    "follow": Argument("bool", default=False),
    "get_checksum": Argument("bool", default=False),
    "checksum_algorithm": stat.ARGUMENTS["checksum_algorithm"],
    "use_regex": Argument("bool", default=False),
    "depth": Argument("int"),
    "mode": Argument("mode"),
    "exact_mode": Argument("bool", default=True),
    "encoding": Argument("str"),
    "limit": Argument("int"),
}

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_BYTES = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}
_KINDS = {"directory": modes.S_ISDIR, "file": modes.S_ISREG, "link": modes.S_ISLNK}
_NOT_FOR_FIND = ("exists", "readable", "writeable", "executable", "lnk_source", "lnk_target")
_SKIPPED = (errno.EPERM, errno.EACCES, errno.ENOENT)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """List what is in `paths` and fits; a path that can't be searched is only a warning."""
    if arguments["limit"] is not None and arguments["limit"] <= 0:
        msg = f"limit cannot be {arguments['limit']} (use None for unlimited)"
        raise ModuleFailed(msg)
    search = _Search(arguments, context)
    for path in arguments["paths"]:
        folder = files.expand(str(path))
        try:
            search.look_into(folder)
        except (OSError, ValueError, LookupError, re.error) as error:
            search.skip(folder, error)
    result: Result = {"changed": False, "files": search.found, "matched": len(search.found)}
    result.update(examined=search.examined, skipped_paths=search.skipped, msg=search.msg)
    if search.warnings:
        msg = "Not all paths examined, check warnings for details"
        result.update(msg=msg, warnings=search.warnings)
    return result


class _Search:
    """What is looked for, and what was found of it so far."""

    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.arguments = arguments
        self.context = context
        self.age = _number(arguments["age"], _SECONDS, "age")
        self.size = _number(arguments["size"], _BYTES, "size")
        self.patterns = arguments["patterns"] or [".*" if arguments["use_regex"] else "*"]
        self.now = time.time()
        self.found: list[dict[str, Any]] = []
        self.skipped: dict[str, str] = {}
        self.warnings: list[str] = []
        self.examined = 0
        self.msg = "All paths examined"

    def look_into(self, folder: str) -> None:
        """Add what fits in `folder`, the shallowest first, until there is enough."""
        if not os.path.isdir(folder):
            raise ValueError(f"'{folder}' is not a directory")
        for path in self._walk(folder):
            try:
                info = os.lstat(path)
            except OSError as error:
                self.skip(path, error)
                continue
            if self._fits(path, info):
                a = self.arguments
                wanted = {"path": path, "follow": False, "get_checksum": a["get_checksum"]}
                wanted["checksum_algorithm"] = a["checksum_algorithm"]
                facts = stat.run(wanted, self.context)["stat"]
                self.found.append({k: v for k, v in facts.items() if k not in _NOT_FOR_FIND})
            if len(self.found) == self.arguments["limit"]:
                self.msg = "Limit of matches reached"
                return

    def _walk(self, folder: str) -> Iterator[str]:
        a = self.arguments
        for root, folders, names in os.walk(folder, onerror=self._pass_by, followlinks=a["follow"]):
            self.examined += len(names) + len(folders)
            depth = os.path.relpath(root, folder).count("/") + (1 if root == folder else 2)
            if a["depth"] and depth > a["depth"]:
                folders.clear()
                continue
            for name in names + folders:
                if a["hidden"] or not name.startswith("."):
                    yield os.path.normpath(os.path.join(root, name))
            if not a["recurse"]:
                return

    def skip(self, path: str, error: Exception) -> None:
        """Note what could not be searched."""
        self.skipped[path] = str(error)
        self.warnings.append(f"Skipped '{path}' path due to this access issue: {error}")

    def _pass_by(self, error: OSError) -> None:
        """A folder that may not be read, or has just gone, is no reason for a warning."""
        if error.errno not in _SKIPPED:
            raise error
        self.skipped[str(error.filename)] = str(error)

    def _fits(self, path: str, info: os.stat_result) -> bool:
        """Whether it is what is looked for; the costly question, for the content, comes last."""
        kind = self.arguments["file_type"]
        if kind != "any" and not _KINDS[kind](info.st_mode):
            return False
        age = self.now - getattr(info, f"st_{self.arguments['age_stamp']}")
        has_size = modes.S_ISREG(info.st_mode) and kind in ("any", "file")
        return (
            self._is_named(os.path.basename(path))
            and _at_least(age, self.age)
            and (not has_size or _at_least(info.st_size, self.size))
            and self._has_mode(modes.S_IMODE(info.st_mode))
            and (kind != "file" or self._contains(path))
        )

    def _is_named(self, name: str) -> bool:
        def matches(pattern: str) -> bool:
            if self.arguments["use_regex"]:
                return bool(re.match(pattern, name))
            return fnmatch.fnmatch(name, pattern)

        excluded = any(matches(str(p)) for p in self.arguments["excludes"])
        return not excluded and any(matches(str(p)) for p in self.patterns)

    def _has_mode(self, mode: int) -> bool:
        if not self.arguments["mode"]:
            return True
        wanted = files.parse_mode(self.arguments["mode"])
        return mode == wanted if self.arguments["exact_mode"] else bool(mode & wanted)

    def _contains(self, path: str) -> bool:
        pattern = self.arguments["contains"]
        if pattern is None:
            return True
        expression = re.compile(pattern)
        try:
            with open(path, encoding=self.arguments["encoding"] or "utf-8") as file:
                if self.arguments["read_whole_file"]:
                    return bool(expression.search(file.read()))
                return any(expression.match(line) for line in file)
        except UnicodeDecodeError as error:
            raise ValueError(f"Failed to read the file {path} due to an encoding error") from error
        except OSError:
            return False


def _number(text: str | None, units: dict[str, int], name: str) -> int | None:
    """ "-2d" in seconds, "10m" in bytes."""
    if text is None:
        return None
    match = re.fullmatch(f"(-?[0-9]+)([{''.join(units)}]?)", text.lower())
    if not match:
        raise ModuleFailed(f"failed to process {name}", **{name: text})
    return int(match[1]) * units.get(match[2], 1)


def _at_least(value: float, wanted: int | None) -> bool:
    """Whether `value` is `wanted` or more; at most that when it is negative."""
    if wanted is None:
        return True
    return value >= wanted if wanted >= 0 else value <= -wanted
