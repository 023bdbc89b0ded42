"""An Ollama that was on the host before b9prov came: its unit and its program, looked at only.

What b9prov installed itself is known by the first line of its unit and by the stamp beside its
program. `settings` is our drop-in for a unit of somebody else's; its second line keeps how that
unit was found, so that it can be left like that.
"""

from __future__ import annotations

import grp
import re
from pathlib import Path
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "name": Argument("str", default="ollama"),
    "program": Argument("str", default="/usr/local/bin/ollama"),
    "stamp": Argument("str", default="/usr/local/.ollama.sha256"),
    "settings": Argument("str", required=True),
}

OURS = "# Written by b9prov"
QUICK = 30.0
_GPU_GROUPS = ("render", "video")
_PROGRAM = re.compile(r"^ExecStart=[-@:+!]*\"?([^\s\"]+)", re.MULTILINE)
_USER = re.compile(r"^User=(\S+)", re.MULTILINE)
_VERSION = re.compile(r"\b(\d+\.\d+\.\d+\S*)")
_WAS = re.compile(r"^# Found (enabled|disabled) and (running|stopped)\.$", re.MULTILINE)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """`unit`, `program`, `version` and `user` of what was there, empty without; `was_enabled` and
    `was_running` of its unit; `adopted`: whether our settings are on it. `gpu_groups` are those of
    the host that own GPUs' devices."""
    unit, text = _unit(arguments["name"])
    settings = Path(arguments["settings"])
    found: Result = {"changed": False, "unit": unit, "adopted": bool(unit) and settings.is_file()}
    found["program"] = _program(arguments, text, bool(unit))
    found["version"] = _version(found["program"])
    user = _USER.search(text) if unit else None
    found["user"] = user[1] if user else ""
    found["was_enabled"], found["was_running"] = _state(arguments["name"], unit, settings)
    found["gpu_groups"] = [each.gr_name for each in grp.getgrall() if each.gr_name in _GPU_GROUPS]
    return found


def _unit(name: str) -> tuple[str, str]:
    """The file of a unit that is not ours, and what is in it."""
    shown = process.run(
        ["systemctl", "show", f"{name}.service", "--property=FragmentPath", "--value"],
        timeout=QUICK,
    )
    path = shown.stdout.strip()
    if shown.rc != 0 or not path:
        return "", ""
    try:
        text = Path(path).read_text(errors="replace")
    except OSError:
        return "", ""
    return ("", "") if text.startswith(OURS) else (path, text)


def _program(arguments: dict[str, Any], unit: str, is_foreign: bool) -> str:
    """The program of that unit, or one that lies where ours would and has no stamp."""
    named = _PROGRAM.search(unit) if is_foreign else None
    if named:
        return named[1]
    usual = arguments["program"]
    there = Path(usual).exists() and not Path(arguments["stamp"]).exists()
    return usual if there else ""


def _version(program: str) -> str:
    """What the program says that it is; nothing where there is none, or it does not start."""
    if not program:
        return ""
    said = process.run([program, "--version"], timeout=QUICK)
    lines = [line for line in said.stdout.splitlines() if "version" in line]
    # without a server it warns first, and then tells the version of the client
    found = _VERSION.search(lines[-1]) if said.rc == 0 and lines else None
    return found[1] if found else ""


def _state(name: str, unit: str, settings: Path) -> tuple[bool, bool]:
    if not unit:
        return False, False
    if settings.is_file():
        was = _WAS.search(settings.read_text(errors="replace"))
        return (was[1] == "enabled", was[2] == "running") if was else (True, True)
    shown = process.run(
        ["systemctl", "show", f"{name}.service", "--property=UnitFileState,ActiveState"],
        timeout=QUICK,
    )
    return "UnitFileState=enabled" in shown.stdout, "ActiveState=active" in shown.stdout
