"""Lines between two markers. Ansible's `blockinfile`: path, block, marker, insertafter, state…"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import lineinfile

ARGUMENTS = {
    "path": Argument("str", required=True, aliases=("dest", "destfile", "name")),
    "state": Argument("str", default="present", choices=("absent", "present")),
    "marker": Argument("str", default="# {mark} ANSIBLE MANAGED BLOCK"),
    "marker_begin": Argument("str", default="BEGIN"),
    "marker_end": Argument("str", default="END"),
    "block": Argument("str", default="", aliases=("content",)),
    "insertafter": Argument("str"),
    "insertbefore": Argument("str"),
    "create": Argument("bool", default=False),
    "backup": Argument("bool", default=False),
    "append_newline": Argument("bool", default=False),
    "prepend_newline": Argument("bool", default=False),
    "validate": Argument("str"),
    **files.ATTRIBUTES,
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """See that the block is, or is not, in the file; an empty block is none."""
    path = files.expand(arguments["path"])
    if arguments["insertafter"] and arguments["insertbefore"]:
        raise ModuleFailed("parameters are mutually exclusive: insertbefore|insertafter")
    if os.path.isdir(path):
        raise ModuleFailed(f"Path {path} is a directory !", rc=256)
    exists = os.path.exists(path)
    if not exists and not arguments["create"]:
        raise ModuleFailed(f"Path {path} does not exist !", rc=257)
    present = arguments["state"] == "present"
    if not exists and not present:
        return {"changed": False, "msg": f"File {path} not present"}
    old = Path(path).read_bytes() if exists else b""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", old)
    block = _block(arguments) if present else []
    _edit(lines, block, arguments)
    new = b"".join(lines)
    msg = "" if exists else "File created"
    if exists and new != old:
        msg = "Block inserted" if block else "Block removed"
    result: Result = {"changed": False, "msg": msg, "path": path}
    return lineinfile.edit(path, old, new, bool(msg), result, arguments, context)


def _marker(arguments: dict[str, Any], which: str) -> bytes:
    line = arguments["marker"].replace("{mark}", arguments[f"marker_{which}"])
    return f"{line}\n".encode()


def _block(arguments: dict[str, Any]) -> list[bytes]:
    text = arguments["block"]
    if not text:
        return []
    text += "" if text.endswith("\n") else "\n"
    body = text.encode().splitlines(keepends=True)
    return [_marker(arguments, "begin"), *body, _marker(arguments, "end")]


def _edit(lines: list[bytes], block: list[bytes], arguments: dict[str, Any]) -> None:
    at = _take_out(lines, arguments)
    if at is None:
        at = _insertion_point(lines, arguments)
    if at > 0 and not lines[at - 1].endswith(b"\n"):
        lines[at - 1] += b"\n"
    present = arguments["state"] == "present"
    if present and arguments["prepend_newline"] and at > 0 and lines[at - 1] != b"\n":
        lines.insert(at, b"\n")
        at += 1
    lines[at:at] = block
    end = at + len(block)
    if present and arguments["append_newline"] and end < len(lines) and lines[end] != b"\n":
        lines.insert(end, b"\n")


def _take_out(lines: list[bytes], arguments: dict[str, Any]) -> int | None:
    """Remove the block that is there; returns where it began."""
    begin, end = _marker(arguments, "begin"), _marker(arguments, "end")
    begins = [i for i, line in enumerate(lines) if line == begin]
    ends = [i for i, line in enumerate(lines) if line == end]
    if not begins or not ends:
        return None
    first, last = sorted((begins[-1], ends[-1]))
    del lines[first : last + 1]
    return first


def _insertion_point(lines: list[bytes], arguments: dict[str, Any]) -> int:
    after, before = arguments["insertafter"], arguments["insertbefore"]
    if before == "BOF":
        return 0
    pattern = after if after not in (None, "EOF") else before
    if pattern is None:
        return len(lines)
    try:
        found = [i for i, line in enumerate(lines) if re.search(pattern.encode(), line)]
    except re.error as error:
        raise ModuleFailed(f"not a regular expression: {pattern}: {error}") from None
    if not found:
        return len(lines)
    return found[-1] + 1 if after else found[-1]
