"""The controller's half of tasks: files to send, and modules that need no host."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from provisioner.playbook import modules
from provisioner.playbook.model import Play, Task
from provisioner.playbook.reading import variables_in, vars_file
from provisioner.playbook.scope import Scope
from provisioner.playbook.templating import Templar, TemplateFailed, without_omitted
from provisioner.remote.arguments import TRUE, BadArgument, normalise
from provisioner.remote.module import CONTROLLER

INLINE_LIMIT = 64 * 1024  # bytes of content sent along; the host asks for more by its hash

LOCAL = frozenset({"set_fact", "debug", "assert", "fail", "include_vars", "pause"})
FACTS = frozenset({"setup", "package_facts", "service_facts", "getent"})  # awaited: others use them
ONCE = frozenset({"pause"})  # done once for all hosts, whether the task says so or not


class ActionFailed(Exception):
    """The controller's half of a task failed."""


@dataclass
class Call:
    """What the host is asked to do; `receive` makes the task's result of what it answers."""

    module: str
    arguments: dict[str, Any]
    blobs: dict[str, Path | bytes] = field(default_factory=dict)
    receive: Callable[[dict[str, Any]], dict[str, Any]] = lambda result: result


def call(task: Task, play: Play, arguments: dict[str, Any], templar: Templar, scope: Scope) -> Call:
    """The operation for `task`. Raises ActionFailed, TemplateFailed."""
    arguments = without_omitted(arguments)
    if task.module == "template":
        return _template(task, arguments, templar, scope)
    if task.module == "copy" and not arguments.get("remote_src"):
        return _copy(task, play, arguments)
    if task.module == "script":
        return _script(task, play, arguments)
    if task.module == "unarchive" and _is_sent(arguments):
        return _sent_file("unarchive", arguments, find_file(str(arguments["src"]), task, play))
    if task.module == "get_artifact":
        return _artifact(arguments)
    if task.module == "fetch":
        name = scope.find("inventory_hostname")
        host = str(name[0]) if name else ""
        return Call("fetch", arguments, receive=lambda result: _fetched(arguments, host, result))
    return Call(task.module, arguments)


def _template(task: Task, arguments: dict[str, Any], templar: Templar, scope: Scope) -> Call:
    arguments = dict(arguments)
    source = str(arguments.pop("src"))
    content = templar.file(source, scope)
    name = Path(source).name.removesuffix(".j2")
    return _with_content(arguments, content.encode(), name)


def _copy(task: Task, play: Play, arguments: dict[str, Any]) -> Call:
    arguments = dict(arguments)
    source = arguments.pop("src", None)
    if source is None:
        if arguments.get("content") is None:
            raise ActionFailed("copy needs src or content")
        content = arguments.pop("content")
        text = json.dumps(content) if isinstance(content, (dict, list)) else str(content)
        return _with_content(arguments, text.encode(), "content")
    file = find_file(str(source), task, play, folders=True)
    if file.is_dir():
        return _copy_folder(str(source), file, arguments)
    if arguments.get("mode") == "preserve":
        arguments["mode"] = f"{file.stat().st_mode & 0o7777:04o}"
    if file.stat().st_size <= INLINE_LIMIT:
        return _with_content(arguments, file.read_bytes(), file.name)
    return _sent_file("copy", arguments, file)


def _copy_folder(source: str, folder: Path, arguments: dict[str, Any]) -> Call:
    """The folder below dest; with a slash at its end only what is in it."""
    preserve = arguments.get("mode") == "preserve"
    blobs: dict[str, Path | bytes] = {}
    directories, contents = [], []
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_dir():
            directories.append(name)
        elif path.is_file():
            sha256 = _hash_of(path)
            blobs[sha256] = path
            mode = f"{path.stat().st_mode & 0o7777:04o}" if preserve else None
            contents.append({"path": name, "sha256": sha256, "mode": mode})
    dest = str(arguments["dest"])
    dest = dest if source.endswith("/") else os.path.join(dest, folder.name)
    own = {name: value for name, value in arguments.items() if name not in ("remote_src", "mode")}
    if not preserve and "mode" in arguments:
        own["mode"] = arguments["mode"]
    own.update(dest=dest, directories=directories, contents=contents)
    return Call("_copy_tree", own, blobs)


def _sent_file(module: str, arguments: dict[str, Any], file: Path) -> Call:
    """A call whose file the host asks for, unless it has it."""
    sha256 = _hash_of(file)
    own = {name: value for name, value in arguments.items() if name != "src"}
    return Call(module, {**own, "sha256": sha256, "_original_basename": file.name}, {sha256: file})


def _artifact(arguments: dict[str, Any]) -> Call:
    """The controller's own file is sent from where it lies, and only what the host lacks of it."""
    push, sha256 = arguments.get("push"), str(arguments.get("sha256") or "").lower()
    if not push:
        if CONTROLLER in (arguments.get("sources") or ()):
            raise ActionFailed(f"the source {CONTROLLER!r} needs push, the controller's file")
        return Call("get_artifact", arguments)
    return Call("get_artifact", arguments, {sha256: Path(str(push)).expanduser()})


def _is_sent(arguments: dict[str, Any]) -> bool:
    """Whether an archive is the controller's, as Ansible decides it."""
    remote = str(arguments.get("remote_src", False)).lower() in TRUE
    return not remote and "://" not in str(arguments.get("src", ""))


def _script(task: Task, play: Play, arguments: dict[str, Any]) -> Call:
    arguments = dict(arguments)
    words = str(arguments.pop("cmd")).split(maxsplit=1)
    if not words:
        raise ActionFailed("script needs the name of a file")
    file = find_file(shlex.split(words[0])[0], task, play)
    arguments["args"] = words[1] if len(words) > 1 else ""
    return _sent_file("script", arguments, file)


def _fetched(arguments: dict[str, Any], host: str, result: dict[str, Any]) -> dict[str, Any]:
    """The result of `fetch`, once the file is written here: below `dest` by host and path, or with
    `flat` as `dest` says."""
    if "content" not in result:
        return result
    source, dest = str(arguments["src"]), str(arguments.get("dest") or "")
    if str(arguments.get("flat", False)).lower() in TRUE:
        dest += os.path.basename(source) if dest.endswith("/") else ""
    else:
        folder = os.path.join(dest, host)
        dest = os.path.normpath(os.path.join(folder, source.lstrip("/")))
        # a path may be one that the host told
        if not Path(dest).is_relative_to(os.path.normpath(folder)):
            return {"failed": True, "msg": f"{source} would lead out of {folder}"}
    file = Path(dest).expanduser()
    content = b"".join(base64.b64decode(piece) for piece in result["content"])
    kept = {name: value for name, value in result.items() if name not in ("content", "encoding")}
    changed = not file.is_file() or file.read_bytes() != content
    try:
        if changed:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
    except OSError as error:
        return {**kept, "failed": True, "msg": f"can't write {file}: {error.strerror}"}
    return {**kept, "changed": changed, "dest": str(file)}


def _with_content(arguments: dict[str, Any], content: bytes, name: str) -> Call:
    arguments["_original_basename"] = name
    if len(content) <= INLINE_LIMIT:
        try:
            return Call("copy", {**arguments, "content": content.decode()})
        except UnicodeDecodeError:
            pass
    sha256 = hashlib.sha256(content).hexdigest()
    return Call("copy", {**arguments, "sha256": sha256}, {sha256: content})


def _hash_of(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def find_file(name: str, task: Task, play: Play, folders: bool = False) -> Path:
    """A file to send: absolute, in the role's files/, or by the playbook. Raises ActionFailed."""
    directories = [play.directory / "files", play.directory]
    if task.role:
        directories.insert(0, task.role.path / "files")
    for directory in directories:
        file = directory / Path(name).expanduser()
        if file.is_file() or (folders and file.is_dir()):
            return file
    raise ActionFailed(f"no such file on the controller: {name}")


def local(
    task: Task,
    arguments: dict[str, Any],
    templar: Templar,
    scope: Scope,
    wait: Callable[[float], object],
) -> dict[str, Any]:
    """The result of a module that needs no host; `wait` sleeps for so many seconds."""
    arguments = without_omitted(arguments)
    if task.module == "set_fact":
        facts = {key: value for key, value in arguments.items() if key != "cacheable"}
        return {"changed": False, "ansible_facts": facts}
    if task.module == "assert":
        return _assert(task, arguments, templar, scope)
    try:
        arguments = normalise(arguments, modules.spec(task.module).arguments)
    except BadArgument as error:
        raise ActionFailed(f"{task.module}: {error}") from None
    if task.module == "include_vars":
        return _include_vars(task, arguments, templar)
    if task.module == "pause":
        seconds = (arguments["minutes"] or 0.0) * 60 + (arguments["seconds"] or 0.0)
        wait(seconds)
        said = f"Paused for {seconds:g} seconds"
        return {"changed": False, "delta": int(seconds), "stdout": said, "stderr": "", "rc": 0}
    if task.module == "fail":
        return {"changed": False, "failed": True, "msg": arguments["msg"]}
    return _debug(task, arguments, templar, scope)


def _include_vars(task: Task, arguments: dict[str, Any], templar: Templar) -> dict[str, Any]:
    """The variables of a file: of the role's `vars`, or beside the playbook."""
    file = vars_file(arguments["file"], task.role, templar.search)
    if file is None:
        raise ActionFailed(f"no such file on the controller: {arguments['file']}")
    variables, name = variables_in(file), arguments["name"]
    facts = {name: variables} if name else variables
    return {"changed": False, "ansible_facts": facts, "ansible_included_var_files": [str(file)]}


def _debug(task: Task, arguments: dict[str, Any], templar: Templar, scope: Scope) -> dict[str, Any]:
    if arguments["verbosity"] > 0:
        reason = "Verbosity threshold not met."
        return {"changed": False, "skipped": True, "skipped_reason": reason}
    name = task.arguments.get("var")
    if not name:
        return {"changed": False, "msg": arguments["msg"]}
    if modules.is_template(name):
        return {"changed": False, name: arguments["var"]}  # a value already: not evaluated again
    try:
        return {"changed": False, name: templar.value("{{ " + name + " }}", scope)}
    except TemplateFailed:
        return {"changed": False, name: "VARIABLE IS NOT DEFINED!"}


def _assert(
    task: Task, arguments: dict[str, Any], templar: Templar, scope: Scope
) -> dict[str, Any]:
    # conditions are expressions: take them as written, not as already evaluated
    that = task.arguments["that"]
    for condition in that if isinstance(that, list) else [that]:
        if not templar.condition(condition, scope):
            msg = arguments.get("fail_msg") or arguments.get("msg") or "Assertion failed"
            return {"changed": False, "failed": True, "msg": msg, "assertion": str(condition)}
    return {"changed": False, "msg": arguments.get("success_msg") or "All assertions passed"}
