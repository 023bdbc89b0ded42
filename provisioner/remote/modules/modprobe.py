"""A kernel module. community.general's `modprobe`: name, state, params, persistent."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import Any

from provisioner.remote import files, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True),
    "state": Argument("str", default="present", choices=("absent", "present")),
    "params": Argument("str", default=""),
    "persistent": Argument("str", default="disabled", choices=("disabled", "absent", "present")),
}
LOADED_AT_BOOT = Path("/etc/modules-load.d")
OPTIONS = Path("/etc/modprobe.d")
PROC_MODULES = Path("/proc/modules")
BUILT_IN = Path("/lib/modules") / os.uname().release / "modules.builtin"
TIMEOUT = 120


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Load or unload the module, now and as asked at boot."""
    name, state = arguments["name"], arguments["state"]
    result: Result = {"changed": False, "name": name, "params": arguments["params"], "state": state}
    params = shlex.split(arguments["params"])
    try:
        wrong = _loaded(name) != (state == "present")
    except OSError as error:
        raise ModuleFailed(str(error), **result) from None
    if wrong:
        dry = ["-n"] if context.check else []
        words = [*dry, name, *params] if state == "present" else ["-r", *dry, name]
        outcome = process.run(["modprobe", *words], timeout=TIMEOUT)
        if outcome.rc != 0:
            said = {"rc": outcome.rc, "stdout": outcome.stdout, "stderr": outcome.stderr}
            raise ModuleFailed(outcome.said or "modprobe failed", **{**result, **said})
        # modprobe is content with a module that it was told to leave alone
        result["changed"] = state == "absent" or context.check or _loaded(name)
    changes = {
        "disabled": {},
        "present": _at_boot(name, arguments["params"].split()),
        "absent": _not_at_boot(name),
    }[arguments["persistent"]]
    if changes:
        result["changed"] = True
        path = min(changes)
        files.add_diff(result, context, path, (files.peek(path), changes[path].encode()))
    for path, text in changes.items():
        if not context.check:
            files.write(path, text.encode())
    return result


def _loaded(name: str) -> bool:
    own = name.replace("-", "_")
    if any(line.split(" ")[0] == own for line in PROC_MODULES.read_text().splitlines()):
        return True
    return any(line.endswith(f"/{name}.ko") for line in BUILT_IN.read_text().splitlines())


def _texts(folder: Path) -> dict[Path, str]:
    if not folder.is_dir():
        return {}
    return {path: path.read_text() for path in folder.iterdir() if path.is_file()}


def _at_boot(name: str, params: list[str]) -> dict[Path, str]:
    """The files to write so that the module is loaded at boot with these parameters."""
    changes = {}
    if not any(_entry(name).search(text) for text in _texts(LOADED_AT_BOOT).values()):
        changes[LOADED_AT_BOOT / f"{name}.conf"] = f"{name}\n"
    found = {match for text in _texts(OPTIONS).values() for match in _option(name).findall(text)}
    if found != set(params):
        changes.update(_commented_out(OPTIONS, _option(name)))
        lines = [f"options {name} {param}" for param in params]
        changes[OPTIONS / f"{name}.conf"] = "\n".join(lines) + "\n"
    return changes


def _not_at_boot(name: str) -> dict[Path, str]:
    at_boot = _commented_out(LOADED_AT_BOOT, _entry(name))
    return {**at_boot, **_commented_out(OPTIONS, _option(name))}


def _commented_out(folder: Path, pattern: re.Pattern[str]) -> dict[Path, str]:
    edited = {path: pattern.sub(r"#\g<0>", text) for path, text in _texts(folder).items()}
    return {path: text for path, text in edited.items() if text != _texts(folder)[path]}


def _entry(name: str) -> re.Pattern[str]:
    return re.compile(rf"^ *{re.escape(name)} *(?:[#;].*)?$", re.MULTILINE)


def _option(name: str) -> re.Pattern[str]:
    return re.compile(rf"^options {re.escape(name)} (\w+=\S+) *(?:[#;].*)?$", re.MULTILINE)
