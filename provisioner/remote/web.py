"""Loads what a URL gives into a file; shared by `get_url` and `unarchive`."""

from __future__ import annotations

import contextlib
import gzip
import http.client
import os
import urllib.error
import urllib.parse
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any

from provisioner.remote.download import without_login
from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import uri

_BLOCK = 1 << 18


@dataclass(frozen=True)
class Answer:
    """What the server said; `status` is None for file: and ftp:, `url` is after redirects,
    `file_name` the one that the server suggests."""

    status: int | None
    msg: str
    url: str
    file_name: str = ""


def load(arguments: dict[str, Any], target: Path, context: Context, method: str = "GET") -> Answer:
    """Write the content of `arguments["url"]` into `target`.

    The other arguments are those of `uri`; `decompress` (default true) opens a gzip that is
    only the transfer's. A status of 300 and above is no content, but an answer. Raises
    ModuleFailed when there is none.
    """
    url, login = _login(arguments)
    options = {name: argument.default for name, argument in uri.ARGUMENTS.items()}
    options.update(arguments, **login, url=url, method=method)
    try:
        with uri.opener(options).open(uri.build(options), timeout=options["timeout"]) as answer:
            length = answer.headers.get("Content-Length")
            _save(answer, target, int(length or 0), options, context)
            msg = f"OK ({length or 'unknown'} bytes)"
            return Answer(answer.status, msg, answer.geturl(), _file_name(answer.headers))
    except urllib.error.HTTPError as error:
        with contextlib.closing(error):
            return Answer(error.code, f"HTTP Error {error.code}: {error.reason}", url)
    except (OSError, http.client.HTTPException, EOFError, ValueError) as error:
        raise ModuleFailed(f"Request failed: {error}", url=without_login(url)) from None


def _login(arguments: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """The URL without `user:password@`, and that as arguments."""
    url = arguments["url"]
    login = urllib.parse.urlsplit(url).netloc.rpartition("@")[0]
    if not login:
        return url, {}
    user, _, password = login.partition(":")
    pair = {"url_username": user, "url_password": password}
    return without_login(url), {k: urllib.parse.unquote(v) for k, v in pair.items()}


def _save(answer: Any, target: Path, total: int, options: dict[str, Any], context: Context) -> None:
    packed = (answer.headers.get("Content-Encoding") or "").lower() in ("gzip", "x-gzip")
    unpack = packed and options.get("decompress", True)
    source = gzip.GzipFile(fileobj=answer) if unpack else answer
    label = os.path.basename(urllib.parse.urlsplit(options["url"]).path) or "download"
    done = 0
    with open(target, "wb") as file:
        for block in iter(lambda: source.read(_BLOCK), b""):
            file.write(block)
            done += len(block)
            context.progress(done, 0 if unpack else total, label)
    if options["method"] != "HEAD" and not unpack and done < total:
        raise ConnectionError(f"broke off at byte {done} of {total}")


def _file_name(headers: Message) -> str:
    """The base name, however the server writes it: it may not lead out of a folder."""
    name = headers.get_param("filename", header="content-disposition")
    return os.path.basename(name) if isinstance(name, str) else ""
