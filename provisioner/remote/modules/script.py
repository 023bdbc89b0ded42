"""Runs a script that the controller sends. Ansible's `script`: creates, removes, chdir, executable.

The script is `content`, or a blob named by its `sha256`; `args` are what follows its name on the
command line: a string goes through the shell, the words of a list reach the script as they are.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import raw

ARGUMENTS = {
    "content": Argument("str"),
    "sha256": Argument("str"),
    "_original_basename": Argument("str", default="script"),
    "args": Argument("raw", default=""),
    "creates": Argument("str"),
    "removes": Argument("str"),
    "chdir": Argument("str"),
    "executable": Argument("str"),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Put the script into a private folder, run it there and remove it, whatever happens."""
    needless = _needless(arguments)
    if needless:
        return {"changed": False, "skipped": True, "msg": needless}
    chdir = arguments["chdir"]
    if chdir and not chdir.startswith("/"):
        raise ModuleFailed(f"chdir {chdir} must be an absolute path for a Unix-aware remote node")
    if context.check:
        if arguments["creates"] or arguments["removes"]:
            return {"changed": True}
        msg = "Check mode is not supported for this task."
        return {"changed": False, "skipped": True, "msg": msg}
    folder = tempfile.mkdtemp(prefix="b9prov-script-", dir=_where_programs_run())
    try:
        path = Path(folder, os.path.basename(arguments["_original_basename"]) or "script")
        _write(path, arguments, context)
        return raw.execute(_line(path, arguments))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _needless(arguments: dict[str, Any]) -> str:
    creates, removes = arguments["creates"], arguments["removes"]
    if creates and os.path.exists(files.expand(creates)):
        return f"{creates} exists, matching creates option"
    if removes and not os.path.exists(files.expand(removes)):
        return f"{removes} does not exist, matching removes option"
    return ""


def _where_programs_run() -> str | None:
    """The folder for temporary files, or the home where that one is mounted noexec."""
    if not os.statvfs(tempfile.gettempdir()).f_flag & os.ST_NOEXEC:
        return None
    return os.path.expanduser("~")


def _write(path: Path, arguments: dict[str, Any], context: Context) -> None:
    path.touch(0o700)
    if arguments["content"] is not None:
        path.write_bytes(arguments["content"].encode())
    elif arguments["sha256"]:
        shutil.copyfile(context.blob(arguments["sha256"].lower()), path)
    else:
        raise ModuleFailed("the script was not sent along")


def _line(path: Path, arguments: dict[str, Any]) -> str:
    words = arguments["args"]
    following = words if isinstance(words, str) else shlex.join(map(str, words))
    parts = [arguments["executable"] or "", shlex.quote(str(path)), following]
    line = " ".join(filter(None, parts))
    return f"cd {shlex.quote(arguments['chdir'])} && {line}" if arguments["chdir"] else line
