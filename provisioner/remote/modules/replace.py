"""Replaces what a pattern matches in a file. Ansible's `replace`: path, regexp, replace, after…"""

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
    "regexp": Argument("str", required=True),
    "replace": Argument("str", default=""),
    "after": Argument("str"),
    "before": Argument("str"),
    "backup": Argument("bool", default=False),
    "validate": Argument("str"),
    "encoding": Argument("str", default="utf-8"),
    **files.ATTRIBUTES,
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Replace all matches, in the part between `after` and `before` when these are given."""
    path = files.expand(arguments["path"])
    if os.path.isdir(path):
        raise ModuleFailed(f"Path {path} is a directory !", rc=256)
    if not os.path.exists(path):
        raise ModuleFailed(f"Path {path} does not exist !", rc=257)
    old = Path(path).read_bytes()
    text = _decode(old, arguments["encoding"])
    start, end = 0, len(text)
    pattern = _section(arguments)
    if pattern:
        section = _compile(pattern, re.DOTALL).search(text)
        if section is None:
            msg = f"Pattern for before/after params did not match the given file: {pattern}"
            return {"changed": False, "rc": 0, "msg": msg}
        start, end = section.span("subsection")
    expression = _compile(arguments["regexp"], re.MULTILINE)
    try:
        part, count = expression.subn(arguments["replace"], text[start:end])
    except (re.error, IndexError) as error:
        raise ModuleFailed(f"Unable to process replace due to error: {error}") from None
    changed = part != text[start:end]
    new = old
    if changed:
        new = (text[:start] + part + text[end:]).encode(arguments["encoding"], "surrogateescape")
    result: Result = {"rc": 0, "msg": f"{count} replacements made" if changed else ""}
    return lineinfile.edit(path, old, new, changed, result, arguments, context)


def _decode(data: bytes, encoding: str) -> str:
    try:
        return data.decode(encoding, "surrogateescape")
    except (LookupError, UnicodeDecodeError) as error:
        raise ModuleFailed(f"the file can't be read as {encoding}: {error}") from None


def _section(arguments: dict[str, Any]) -> str:
    """The pattern of the part to work on; empty when that is the whole file."""
    after, before = arguments["after"] or "", arguments["before"] or ""
    if not (after or before):
        return ""
    return f"{after}(?P<subsection>.*{'?' if after and before else ''}){before}"


def _compile(pattern: str, flags: int) -> re.Pattern[str]:
    try:
        return re.compile(pattern, flags)
    except re.error as error:
        raise ModuleFailed(f"{pattern} is no regular expression: {error}") from None
