"""Downloads a file. Ansible's `get_url`: url, dest, checksum, force, headers, timeout, mode…"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
import urllib.parse
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

from provisioner.remote import files, web
from provisioner.remote.arguments import Argument
from provisioner.remote.download import without_login
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "url": Argument("str", required=True),
    "dest": Argument("str", required=True),
    "checksum": Argument("str", default=""),
    "force": Argument("bool", default=False),
    "backup": Argument("bool", default=False),
    "headers": Argument("dict"),
    "timeout": Argument("int", default=10),
    "tmp_dest": Argument("str"),
    "url_username": Argument("str", aliases=("username",)),
    "url_password": Argument("str", aliases=("password",), secret=True),
    "force_basic_auth": Argument("bool", default=False),
    "http_agent": Argument("str", default="ansible-httpget"),
    "use_proxy": Argument("bool", default=True),
    "validate_certs": Argument("bool", default=True),
    "ca_path": Argument("str"),
    "decompress": Argument("bool", default=True),
    **files.ATTRIBUTES,
}

_BSD_LINE = re.compile(r"\w+ ?\((?P<name>.+)\) ?= (?P<digest>[\w.]+)")
_GNU_LINE = re.compile(r"(?P<digest>[\w.]+)\s+(?:\*|\./|\.)?(?P<name>.+)")


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Have the file at `dest`; what the server says it has not changed is not loaded again."""
    started = time.monotonic()
    dest = Path(files.expand(arguments["dest"]))
    result: Result = {"changed": False, "dest": str(dest), "elapsed": 0}
    result["url"] = without_login(arguments["url"])
    wanted = _wanted(arguments, context)
    force, headers = arguments["force"], dict(arguments["headers"] or {})
    is_folder = dest.is_dir()
    if dest.exists() and not is_folder:
        if wanted and not force:
            if files.digest(dest, wanted[0]) == wanted[1]:
                return _already_there(dest, arguments, context, result)
            force = True
        if not force:
            headers["If-Modified-Since"] = formatdate(dest.stat().st_mtime, usegmt=True)
    if force:
        headers["Cache-Control"] = "no-cache"
    with _temporary(arguments, dest if is_folder else dest.parent) as part:
        method = "HEAD" if context.check else "GET"
        answer = web.load({**arguments, "headers": headers}, part, context, method)
        result["elapsed"] = int(time.monotonic() - started)
        if answer.status == 304:
            return _finish(dest, {**result, "msg": answer.msg, "status_code": 304})
        _require_success(answer, arguments["url"], result)
        if is_folder:
            dest = dest / (answer.file_name or _name(answer.url))
            result["dest"] = str(dest)
            if dest.is_dir():
                raise ModuleFailed(f"{dest} is a directory, give a file name", **result)
        result["checksum_src"] = files.digest(part, "sha1")
        result["checksum_dest"] = files.digest(dest, "sha1") if dest.exists() else None
        different = result["checksum_src"] != result["checksum_dest"]
        if context.check:  # nothing but the headers was asked for
            return _finish(dest, {**result, "changed": different, "msg": answer.msg})
        if wanted:
            _verify(part, wanted, result)
        if different:
            _put(part, dest, arguments, result)
    result["changed"] |= bool(files.set_attributes(dest, arguments, check=False)[1])
    result.update(msg=answer.msg, status_code=answer.status, src=str(part), md5sum=_md5(dest))
    return _finish(dest, result)


def _finish(dest: Path, result: Result) -> Result:
    return {**result, **files.describe(dest)} if dest.exists() else result


def _already_there(
    dest: Path, arguments: dict[str, Any], context: Context, result: Result
) -> Result:
    difference = files.set_attributes(dest, arguments, context.check)
    files.add_diff(result, context, dest, attributes=difference)
    msg = "file already exists" + (" but file attributes changed" if difference[1] else "")
    result.update(checksum_src=None, checksum_dest=None, msg=msg, changed=bool(difference[1]))
    return _finish(dest, result)


@contextlib.contextmanager
def _temporary(arguments: dict[str, Any], folder: Path) -> Iterator[Path]:
    """A private file for the content to come, in `tmp_dest` or beside the destination."""
    if not folder.is_dir():
        raise ModuleFailed(f"Destination {folder} does not exist")
    if arguments["tmp_dest"]:
        folder = Path(files.expand(arguments["tmp_dest"]))
        if folder.exists() and not folder.is_dir():
            raise ModuleFailed(f"{folder} is a file but should be a directory.")
        if not folder.is_dir():
            raise ModuleFailed(f"{folder} directory does not exist.")
    descriptor, name = tempfile.mkstemp(prefix=".b9prov.", dir=folder)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _require_success(answer: web.Answer, url: str, result: Result) -> None:
    if answer.status == 200 or url.startswith(("file:", "ftp:")):
        return
    extra = {"status_code": answer.status, "response": answer.msg}
    raise ModuleFailed("Request failed", **{**result, **extra})


def _put(part: Path, dest: Path, arguments: dict[str, Any], result: Result) -> None:
    if arguments["backup"] and dest.exists():
        result["backup_file"] = files.backup(dest)
    with files.replacing(dest, arguments) as temporary:
        shutil.move(part, temporary)  # renames, or copies from another file system
    result["changed"] = True


def _wanted(arguments: dict[str, Any], context: Context) -> tuple[str, str] | None:
    """The algorithm and the hex digest that `checksum` asks for."""
    if not arguments["checksum"]:
        return None
    algorithm, separator, digest = arguments["checksum"].partition(":")
    if not separator:
        raise ModuleFailed("The checksum parameter has to be in format <algorithm>:<checksum>")
    if algorithm not in hashlib.algorithms_available or algorithm.startswith("shake"):
        raise ModuleFailed(f"there is no checksum algorithm {algorithm!r} on this host")
    if urllib.parse.urlsplit(digest).scheme in ("http", "https", "ftp", "file"):
        digest = _listed(digest, arguments, context)
    digest = re.sub(r"\W+", "", digest).lower()
    if not re.fullmatch("[0-9a-f]+", digest):
        raise ModuleFailed("The checksum format is invalid")
    return algorithm, digest


def _listed(url: str, arguments: dict[str, Any], context: Context) -> str:
    """The digest that the list at `url` has for our file."""
    with tempfile.TemporaryDirectory(prefix="b9prov-") as folder:
        path = Path(folder, "checksums")
        answer = web.load({**arguments, "url": url}, path, context)
        _require_success(answer, url, {"url": without_login(url)})
        lines = path.read_text("utf-8", "replace").splitlines()
    if len(lines) == 1 and len(lines[0].split()) == 1:
        return lines[0]
    name = _name(arguments["url"])
    for line in lines:
        match = _BSD_LINE.fullmatch(line) or _GNU_LINE.fullmatch(line)
        if match and match["name"].lstrip("./") == name:
            return match["digest"]
    raise ModuleFailed(f"Unable to find a checksum for file '{name}' in '{without_login(url)}'")


def _name(url: str) -> str:
    return os.path.basename(urllib.parse.urlsplit(url).path) or "index.html"


def _verify(part: Path, wanted: tuple[str, str], result: Result) -> None:
    found = files.digest(part, wanted[0])
    if found != wanted[1]:
        msg = f"The checksum for {part} did not match {wanted[1]}; it was {found}."
        raise ModuleFailed(msg, **result)


def _md5(path: Path) -> str | None:
    try:
        return files.digest(path, "md5")
    except ValueError:  # hosts with FIPS have none
        return None
