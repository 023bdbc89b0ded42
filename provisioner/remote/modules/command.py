"""Runs a program without a shell. Ansible's `command`: cmd or argv, chdir, creates, removes…"""

from __future__ import annotations

import datetime
import glob
import os
import shlex
from typing import Any

from provisioner.remote import files, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

COMMON = {
    "cmd": Argument("str"),
    "chdir": Argument("str"),
    "creates": Argument("str"),
    "removes": Argument("str"),
    "stdin": Argument("str"),
    "stdin_add_newline": Argument("bool", default=True),
    "strip_empty_ends": Argument("bool", default=True),
}
ARGUMENTS = {
    **COMMON,
    "argv": Argument("list"),
    "expand_argument_vars": Argument("bool", default=True),
}
FREE_FORM = "cmd"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Run argv, or cmd split into words as a shell would but expanded by no shell."""
    if bool(arguments["cmd"]) == bool(arguments["argv"]):
        raise ModuleFailed("give either cmd or argv")
    try:
        words = shlex.split(arguments["cmd"]) if arguments["cmd"] else arguments["argv"]
    except ValueError as error:
        raise ModuleFailed(f"cannot split the command into words: {error}") from None
    argv = [str(word) for word in words]
    expanded = [files.expand(word) for word in argv] if arguments["expand_argument_vars"] else argv
    return execute(argv, expanded, None, arguments, context)


def execute(
    shown: Any, command: Any, executable: str | None, arguments: dict[str, Any], context: Context
) -> Result:
    """What `command` and `shell` have in common; `shown` is the result's `cmd`."""
    result: Result = {"changed": False, "cmd": shown, "rc": 0, "stdout": "", "stderr": ""}
    result.update(start=None, end=None, delta=None, msg="")
    directory = files.expand(arguments["chdir"]) if arguments["chdir"] else None
    if directory and not os.path.isdir(directory) and not context.check:
        msg = "Unable to change directory before execution."
        raise ModuleFailed(msg, **_lines(result, without="msg"))
    reason = _needless(arguments, directory)
    if reason:
        did = "Would" if context.check else "Did"
        result["msg"] = f"{did} not run command since {reason}"
        result["stdout"] = f"skipped, since {reason.replace(chr(39), '')}"
        return _lines(result)
    result["changed"] = True
    if context.check:
        result["msg"] = "Command would have run if not in check mode"
        if not (arguments["creates"] or arguments["removes"]):
            result.update(changed=False, skipped=True)
        return _lines(result)
    start = datetime.datetime.now()
    outcome = process.run(
        command, stdin=_stdin(arguments), cwd=directory, env=_own_locale(), executable=executable
    )
    end = datetime.datetime.now()
    result.update(rc=outcome.rc, stdout=outcome.stdout, stderr=outcome.stderr)
    result.update(start=str(start), end=str(end), delta=str(end - start))
    if arguments["strip_empty_ends"]:
        for name in ("stdout", "stderr"):
            result[name] = result[name].rstrip("\r\n")
    if not outcome.started:
        result.update(changed=False, rc=2)
        raise ModuleFailed(outcome.stderr, **_lines(result, without="msg"))
    if outcome.rc != 0:
        raise ModuleFailed("non-zero return code", **_lines(result, without="msg"))
    return _lines(result)


def _needless(arguments: dict[str, Any], directory: str | None) -> str:
    for name, present in (("creates", True), ("removes", False)):
        pattern = arguments[name]
        if not pattern:
            continue
        found = glob.glob(os.path.join(directory or "", files.expand(pattern)))
        if bool(found) == present:
            return f"'{pattern}' {'exists' if present else 'does not exist'}"
    return ""


def _stdin(arguments: dict[str, Any]) -> bytes | None:
    text: str | None = arguments["stdin"]
    if text is None:
        return None
    return (text + ("\n" if arguments["stdin_add_newline"] else "")).encode()


def _own_locale() -> dict[str, str]:
    """The locale that the play's environment asks for goes before our C.UTF-8."""
    return {name: os.environ[name] for name in ("LANG", "LC_ALL") if name in os.environ}


def _lines(result: Result, without: str = "") -> Result:
    for name in ("stdout", "stderr"):
        result[f"{name}_lines"] = result[name].splitlines()
    return {name: value for name, value in result.items() if name != without}
