"""One line of a file. Ansible's `lineinfile`: path, regexp, line, state, insertafter, backrefs…"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "path": Argument("str", required=True, aliases=("dest", "destfile", "name")),
    "state": Argument("str", default="present", choices=("absent", "present")),
    "regexp": Argument("str", aliases=("regex",)),
    "search_string": Argument("str"),
    "line": Argument("str", aliases=("value",)),
    "insertafter": Argument("str"),
    "insertbefore": Argument("str"),
    "backrefs": Argument("bool", default=False),
    "create": Argument("bool", default=False),
    "backup": Argument("bool", default=False),
    "firstmatch": Argument("bool", default=False),
    "validate": Argument("str"),
    **files.ATTRIBUTES,
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """See that the line is, or is not, in the file."""
    _check(arguments)
    path = files.expand(arguments["path"])
    if os.path.isdir(path):
        raise ModuleFailed(f"Path {path} is a directory !", rc=256)
    wanted = arguments["state"] == "present"
    if not os.path.exists(path):
        if not wanted:
            return {"changed": False, "msg": "file not present"}
        if not arguments["create"]:
            raise ModuleFailed(f"Destination {path} does not exist !", rc=257)
    old = Path(path).read_bytes() if os.path.exists(path) else b""
    # bytes.splitlines would split at a lone \r too
    lines = re.findall(rb"[^\n]*\n|[^\n]+", old)
    result: Result = {"changed": False, "msg": "", "path": path}
    if wanted:
        result["msg"] = _present(lines, arguments)
    else:
        kept = [line for line in lines if not _matches(line, arguments)]
        result["found"] = len(lines) - len(kept)
        result["msg"] = f"{result['found']} line(s) removed" if len(kept) < len(lines) else ""
        lines = kept
    new = b"".join(lines)
    return edit(path, old, new, bool(result["msg"]), result, arguments, context)


def edit(
    path: str,
    old: bytes,
    new: bytes,
    changed: bool,
    result: Result,
    arguments: dict[str, Any],
    context: Context,
) -> Result:
    """Bring an edited file and its attributes in place; shared with `blockinfile`."""
    attributes: tuple[dict[str, Any], dict[str, Any]] = ({}, {})
    result["changed"] = changed
    target = os.path.realpath(path)
    if changed and not context.check:
        if arguments["backup"] and os.path.exists(path):
            result["backup"] = result["backup_file"] = files.backup(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        files.write(target, new, arguments, arguments["validate"])
    elif os.path.exists(target):
        attributes = files.set_attributes(target, arguments, context.check)
        if attributes[1]:
            result["changed"] = True
            joined = [result["msg"], "ownership, perms or SE linux context changed"]
            result["msg"] = " and ".join(filter(None, joined))
    files.add_diff(result, context, path, (old, new) if changed else None, attributes)
    return result


def _check(arguments: dict[str, Any]) -> None:
    for one, other in (
        ("insertbefore", "insertafter"),
        ("regexp", "search_string"),
        ("backrefs", "search_string"),
    ):
        if arguments[one] and arguments[other]:
            raise ModuleFailed(f"parameters are mutually exclusive: {one}|{other}")
    if arguments["state"] == "present":
        if arguments["backrefs"] and arguments["regexp"] is None:
            raise ModuleFailed("regexp is required with backrefs=true")
        if arguments["line"] is None:
            raise ModuleFailed("line is required with state=present")
    elif all(arguments[name] is None for name in ("regexp", "search_string", "line")):
        raise ModuleFailed("one of line, search_string, or regexp is required with state=absent")
    for name in ("regexp", "insertafter", "insertbefore"):
        try:
            re.compile((arguments[name] or "").encode())
        except re.error as error:
            raise ModuleFailed(f"{name} is no regular expression: {error}") from None


def _matches(line: bytes, arguments: dict[str, Any]) -> Any:
    """What of a line makes it the one that is looked for: a match, True or nothing."""
    if arguments["regexp"] is not None:
        return re.search(arguments["regexp"].encode(), line)
    if arguments["search_string"] is not None:
        return arguments["search_string"].encode() in line
    return line.rstrip(b"\r\n") == arguments["line"].encode()


def _present(lines: list[bytes], arguments: dict[str, Any]) -> str:
    """Edit `lines`; returns what was done, empty when nothing had to be."""
    wanted = arguments["line"].encode()
    position, match = _find(lines, arguments)
    if position is None:  # the pattern is nowhere, but the line may be there already
        same = [i for i, line in enumerate(lines) if line.rstrip(b"\r\n") == wanted]
        position = same[-1] if same else None
    if position is not None:
        new = match.expand(wanted) if arguments["backrefs"] and match else wanted
        new += b"" if new.endswith(b"\n") else b"\n"
        if lines[position] == new:
            return ""
        lines[position] = new
        return "line replaced"
    if arguments["backrefs"]:  # there is nothing to take the references from
        return ""
    at = _insertion_point(lines, arguments)
    if arguments["insertafter"] and 0 < at < len(lines) and lines[at].rstrip(b"\r\n") == wanted:
        return ""
    if at == len(lines) and lines and not lines[-1].endswith((b"\n", b"\r")):
        lines[-1] += b"\n"
    lines.insert(at, wanted + b"\n")
    return "line added"


def _find(lines: list[bytes], arguments: dict[str, Any]) -> tuple[int | None, Any]:
    """The last line (with firstmatch the first) that regexp or search_string matches."""
    found: tuple[int | None, Any] = (None, None)
    if arguments["regexp"] is None and arguments["search_string"] is None:
        return found
    for index, line in enumerate(lines):
        match = _matches(line, arguments)
        if match:
            found = (index, match)
            if arguments["firstmatch"]:
                break
    return found


def _insertion_point(lines: list[bytes], arguments: dict[str, Any]) -> int:
    after, before = arguments["insertafter"], arguments["insertbefore"]
    if "BOF" in (after, before):
        return 0
    pattern = after or before
    if pattern is None or after == "EOF":
        return len(lines)
    found = [i for i, line in enumerate(lines) if re.search(pattern.encode(), line)]
    if not found:
        return len(lines)
    index = found[0] if arguments["firstmatch"] else found[-1]
    return index + 1 if after else index
