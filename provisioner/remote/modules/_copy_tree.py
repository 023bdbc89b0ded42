"""A folder of the controller with all that is in it: what `copy` becomes when its `src` is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument, normalise
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import copy

ARGUMENTS = {
    "dest": Argument("str", required=True),
    "directories": Argument("list", default=[]),
    "contents": Argument("list", default=[]),
    **{name: copy.ARGUMENTS[name] for name in ("backup", "force", "validate", "directory_mode")},
    **files.ATTRIBUTES,
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Have each of `directories`, relative to dest, and each of `contents`, which are mappings of
    `path`, `sha256` and `mode` (None: as `mode` says)."""
    top = Path(files.expand(arguments["dest"]))
    result: Result = {"changed": False, "dest": str(top)}
    diffs: list[Any] = []
    for name in ("", *arguments["directories"]):
        result["changed"] |= _directory(top / name, arguments, context)
    for each in arguments["contents"]:
        done = copy.run(_of_file(top, each, arguments), context)
        result["changed"] |= done["changed"]
        found = done.get("diff", [])
        diffs += found if isinstance(found, list) else [found]
    if diffs:
        result["diff"] = diffs
    return result


def _directory(path: Path, arguments: dict[str, Any], context: Context) -> bool:
    """Make the directory; one that is there keeps its mode."""
    if path.exists() and not path.is_dir():
        raise ModuleFailed(f"{path} is in the way: a directory has to be there")
    missing = not path.is_dir()
    if missing and context.check:
        return True
    if missing:
        path.mkdir(parents=True)
    own = {name: arguments[name] for name in ("owner", "group")}
    mode = arguments["directory_mode"] if missing else None
    _, after = files.set_attributes(path, {**own, "mode": mode}, context.check)
    return missing or bool(after)


def _of_file(top: Path, each: dict[str, Any], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `copy` for one file."""
    shared = {name: arguments[name] for name in ("owner", "group", "backup", "force", "validate")}
    own = {
        "dest": str(top / each["path"]),
        "sha256": each["sha256"],
        "mode": each.get("mode") or arguments["mode"],
    }
    return normalise({**shared, **own}, copy.ARGUMENTS)
