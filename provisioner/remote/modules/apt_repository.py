"""A line of apt's sources. Ansible's `apt_repository`: repo, state, filename, update_cache…"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from provisioner.remote import aptget, files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "repo": Argument("str", required=True),
    "state": Argument("str", default="present", choices=("absent", "present")),
    "mode": Argument("mode"),
    "filename": Argument("str"),
    "update_cache": Argument("bool", default=True, aliases=("update-cache",)),
    "update_cache_retries": Argument("int", default=5),
    "update_cache_retry_max_delay": Argument("int", default=12),
    # there is no library of apt's to install, and https is apt's own business
    "install_python_apt": Argument("bool", default=True),
    "validate_certs": Argument("bool", default=True),
}
LIST = Path("/etc/apt/sources.list")
PARTS = Path("/etc/apt/sources.list.d")
LOCK_TIMEOUT = 60
TYPES = ("deb", "deb-src")


class _Source(NamedTuple):
    enabled: bool
    text: str


def run(arguments: dict[str, Any], context: Context) -> Result:
    """See that the repository is among apt's sources, or is not."""
    repo = arguments["repo"].strip()
    if not shutil.which("apt-get"):
        raise ModuleFailed("this host has no apt")
    if repo.startswith("ppa:"):
        raise ModuleFailed("a ppa: is not supported: give its line, and its key by get_url")
    if not repo:
        raise ModuleFailed("Please set argument 'repo' to a non-empty value")
    source = _parse(repo)
    if source is None or not source.enabled:
        raise ModuleFailed(f"Invalid repository string: {repo}")
    before = _read()
    after = dict(before)
    edit = _add if arguments["state"] == "present" else _remove
    added_to = edit(after, source.text, arguments)
    changes = {path: text for path, text in after.items() if before.get(path, "") != text}
    if changes and not context.check:
        _apply(changes, before, added_to, arguments)
    now = {path for path, text in after.items() if text}
    result: Result = {"changed": bool(changes), "repo": arguments["repo"]}
    result["state"] = arguments["state"]
    result["sources_added"] = sorted(str(path) for path in now - set(before))
    result["sources_removed"] = sorted(str(path) for path in set(before) - now)
    if changes:
        old = "".join(before.get(path, "") for path in changes)
        new = "".join(changes.values())
        files.add_diff(result, context, min(changes), (old.encode(), new.encode()))
    return result


def _read() -> dict[Path, str]:
    """The texts of apt's one-line sources; empty files count as none."""
    paths = [LIST, *sorted(PARTS.glob("*.list"))]
    texts = {path: path.read_text() for path in paths if path.is_file()}
    return {path: text for path, text in texts.items() if text}


def _parse(line: str) -> _Source | None:
    """A line's source, its spaces made single; None when it is none."""
    line = line.strip()
    enabled = not line.startswith("#")
    words = line[0 if enabled else 1 :].partition("#")[0].split()
    return _Source(enabled, " ".join(words)) if words and words[0] in TYPES else None


def _add(texts: dict[Path, str], source: str, arguments: dict[str, Any]) -> Path | None:
    """Enable the source where it is, or put it in a file; returns that file."""
    found = False
    for path, text in texts.items():
        lines = text.splitlines(keepends=True)
        for index, line in enumerate(lines):
            there = _parse(line)
            if there and there.text == source:
                found = True
                if not there.enabled:
                    lines[index] = line.lstrip()[1:].lstrip()
        texts[path] = "".join(lines)
    if found:
        return None
    name = f"{arguments['filename'] or _file_name(source)}.list"
    path = Path(name) if "/" in name else PARTS / name
    old = texts.get(path, "")
    texts[path] = old + ("\n" if old and not old.endswith("\n") else "") + f"{source}\n"
    return path


def _remove(texts: dict[Path, str], source: str, arguments: dict[str, Any]) -> Path | None:
    for path, text in texts.items():
        lines = text.splitlines(keepends=True)
        texts[path] = "".join(line for line in lines if _parse(line) != _Source(True, source))
    return None


def _file_name(source: str) -> str:
    """Ansible's name for the file of a source: its address, without what may be secret in it."""
    plain = re.sub(r"\w+://", "", re.sub(r"\[[^\]]+\]", "", source))
    address = next(word for word in plain.split() if word not in TYPES)
    return "_".join(re.sub("[^a-zA-Z0-9]", " ", address.partition("@")[2] or address).split())


def _apply(
    changes: dict[Path, str],
    before: dict[Path, str],
    added_to: Path | None,
    arguments: dict[str, Any],
) -> None:
    """Write the files and have apt read the lists; if it can't, all is as before."""
    for path, text in changes.items():
        _write(path, text, {"mode": arguments["mode"]} if path == added_to else {})
    if not arguments["update_cache"]:
        return
    try:
        retries, delay = (arguments[f"update_cache_{n}"] for n in ("retries", "retry_max_delay"))
        aptget.AptGet(LOCK_TIMEOUT).update(retries, delay)
    except ModuleFailed:
        for path in changes:
            _write(path, before.get(path, ""), {})
        raise


def _write(path: Path, text: str, attributes: dict[str, Any]) -> None:
    if text:
        os.makedirs(path.parent, exist_ok=True)
        files.write(os.path.realpath(path), text.encode(), attributes)
    else:
        path.unlink(missing_ok=True)
