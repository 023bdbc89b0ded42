"""Files, directories and links. Ansible's `file`: path, state, mode, owner, group, src, force…"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "path": Argument("str", required=True, aliases=("dest", "name")),
    "state": Argument("str", choices=("absent", "directory", "file", "hard", "link", "touch")),
    "src": Argument("str"),
    "recurse": Argument("bool", default=False),
    "force": Argument("bool", default=False),
    "follow": Argument("bool", default=True),
    "modification_time": Argument("str", choices=("preserve", "now")),
    "access_time": Argument("str", choices=("preserve", "now")),
    **files.ATTRIBUTES,
}

_Attributes = tuple[dict[str, Any], dict[str, Any]]


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring `path` into `state`; without one, into the state that it is in."""
    path = files.expand(arguments["path"])
    had = files.kind(path)
    state = arguments["state"] or (
        had if had != "absent" else "directory" if arguments["recurse"] else "file"
    )
    source = arguments["src"]
    if arguments["recurse"] and state != "directory":
        raise ModuleFailed("recurse option requires state to be 'directory'", path=path)
    if source and state not in ("link", "hard"):
        raise ModuleFailed("src option requires state to be 'link' or 'hard'", path=path)
    if state not in ("link", "absent") and source and os.path.isdir(path):
        path = os.path.join(path, os.path.basename(source))
        had = files.kind(path)
    if arguments["follow"] and had == "link" and state in ("file", "directory", "touch"):
        path = os.path.realpath(path)
        had = files.kind(path)
    try:
        changed, difference = _STATES[state](path, had, arguments, context)
    except OSError as error:
        raise ModuleFailed(f"{path}: {error.strerror}", path=path) from None
    result: Result = {"changed": changed, "path": path}
    if state in ("link", "hard"):
        result.update(dest=path, src=source)
    if changed and had != ("file" if state == "touch" else state):
        difference[0].setdefault("state", had)
        difference[1].setdefault("state", state)
    files.add_diff(result, context, path, attributes=difference)
    return {**result, **files.describe(path)}


def _file(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    if had not in ("file", "hard"):
        raise ModuleFailed(f"file ({path}) is {had}, cannot continue", path=path, state=had)
    difference = files.set_attributes(path, arguments, context.check)
    return bool(difference[1]) | _set_times(path, arguments, context, "preserve"), difference


def _directory(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    if had == "absent":
        if not context.check:
            _make_directories(path, arguments)
        return True, ({}, {})
    if had != "directory":
        raise ModuleFailed(f"{path} already exists as a {had}", path=path)
    difference = files.set_attributes(path, arguments, context.check)
    changed = bool(difference[1])
    if arguments["recurse"]:
        for below in _walk(path):
            follow = arguments["follow"] and os.path.exists(below)
            changed |= bool(files.set_attributes(below, arguments, context.check, follow)[1])
    return changed, difference


def _make_directories(path: str, arguments: dict[str, Any]) -> None:
    """Like mkdir -p, but every directory made gets the attributes, as Ansible does."""
    missing = []
    while path and not os.path.lexists(path):
        missing.append(path)
        path = os.path.dirname(path.rstrip("/"))
    for directory in reversed(missing):
        os.makedirs(directory, exist_ok=True)
        files.set_attributes(directory, arguments, check=False)


def _walk(path: str) -> Iterator[str]:
    for directory, directories, names in os.walk(path):
        for name in directories + names:
            yield os.path.join(directory, name)


def _touch(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    if had == "absent":
        if not context.check:
            files.write(path, b"", arguments)
        return True, ({}, {})
    if had not in ("file", "hard", "directory"):
        raise ModuleFailed(f"Cannot touch {path}: it is a {had}", path=path)
    difference = files.set_attributes(path, arguments, context.check)
    return bool(difference[1]) | _set_times(path, arguments, context, "now"), difference


def _set_times(path: str, arguments: dict[str, Any], context: Context, default: str) -> bool:
    """Ansible's touch always sets both times, and so always changes, unless told to preserve."""
    wanted = [arguments[name] or default for name in ("access_time", "modification_time")]
    if "now" not in wanted:
        return False
    if not context.check:
        old = os.stat(path)
        os.utime(path)
        now = os.stat(path)
        accessed = now.st_atime_ns if wanted[0] == "now" else old.st_atime_ns
        modified = now.st_mtime_ns if wanted[1] == "now" else old.st_mtime_ns
        os.utime(path, ns=(accessed, modified))
    return True


def _absent(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    if had == "absent":
        return False, ({}, {})
    if not context.check:
        if had == "directory":
            shutil.rmtree(path)
        else:
            os.unlink(path)
    return True, ({}, {})


def _link(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    source = arguments["src"]
    if source is None and had != "link":
        raise ModuleFailed("src is required for creating new symlinks", path=path)
    base = path if had == "directory" else os.path.dirname(path)
    target = os.path.join(base, source or os.readlink(path))
    # in check mode an earlier task may be the one that would make the source
    if source and not (os.path.exists(target) or arguments["force"] or context.check):
        raise ModuleFailed(
            "src file does not exist, use 'force=yes' if you really want to create the link: "
            + target,
            path=path,
            src=source,
        )
    _may_replace(path, had, arguments)
    changed = had != "link" or (source is not None and os.readlink(path) != source)
    difference: _Attributes = ({}, {})
    if changed:
        if had == "link":
            difference = ({"src": os.readlink(path)}, {"src": source})
        if not context.check:
            _place(path, had, lambda temporary: os.symlink(source, temporary))
    if os.path.lexists(path) and (os.path.exists(path) or not arguments["follow"]):
        made = files.set_attributes(path, arguments, context.check, arguments["follow"])
        difference = ({**difference[0], **made[0]}, {**difference[1], **made[1]})
        changed |= bool(made[1])
    return changed, difference


def _may_replace(path: str, had: str, arguments: dict[str, Any]) -> None:
    if had in ("absent", "link"):
        return
    if not arguments["force"]:
        raise ModuleFailed(f"refusing to convert from {had} to symlink for {path}", path=path)
    if had == "directory" and os.listdir(path):
        raise ModuleFailed(f"the directory {path} is not empty, refusing to convert it", path=path)


def _hard(
    path: str, had: str, arguments: dict[str, Any], context: Context
) -> tuple[bool, _Attributes]:
    source = arguments["src"]
    if source is None and had != "hard":
        raise ModuleFailed("src is required for creating new hardlinks", path=path)
    if source is not None and not os.path.exists(source):
        if context.check:
            return True, ({}, {})
        raise ModuleFailed("src does not exist", dest=path, src=source)
    same = source is None or (had != "absent" and _inode(path) == _inode(source))
    if not same and had not in ("absent", "link") and not arguments["force"]:
        raise ModuleFailed(f"Cannot link, {had} exists at destination", dest=path, src=source)
    if not same and not context.check:
        _place(path, had, lambda temporary: os.link(source, temporary))
    if not os.path.exists(path):
        return not same, ({}, {})
    difference = files.set_attributes(path, arguments, context.check)
    return not same or bool(difference[1]), difference


def _inode(path: str) -> tuple[int, int]:
    found = os.lstat(path)
    return found.st_dev, found.st_ino


def _place(path: str, had: str, make: Any) -> None:
    """Make a link under a temporary name, then let it take the place of what is there."""
    directory = tempfile.mkdtemp(prefix=".b9prov.", dir=os.path.dirname(path) or ".")
    temporary = os.path.join(directory, "link")
    try:
        make(temporary)
        if had == "directory":
            os.rmdir(path)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


_STATES = {
    "absent": _absent,
    "directory": _directory,
    "file": _file,
    "hard": _hard,
    "link": _link,
    "touch": _touch,
}
