"""Asks a web server. Ansible's `uri`: url, method, headers, body, body_format, status_code…"""

from __future__ import annotations

import base64
import functools
import hashlib
import http.client
import json
import os
import re
import socket
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "url": Argument("str", required=True),
    "method": Argument("str", default="GET"),
    "headers": Argument("dict"),
    "body": Argument("raw"),
    "body_format": Argument("str", default="raw", choices=("raw", "json", "form-urlencoded")),
    "status_code": Argument("list", default=(200,)),
    "return_content": Argument("bool", default=False),
    "validate_certs": Argument("bool", default=True),
    "ca_path": Argument("str"),
    "timeout": Argument("int", default=30),
    "url_username": Argument("str", aliases=("user",)),
    "url_password": Argument("str", aliases=("password",), secret=True),
    "force_basic_auth": Argument("bool", default=False),
    "follow_redirects": Argument("str", default="safe", choices=("all", "none", "safe")),
    "use_proxy": Argument("bool", default=True),
    "http_agent": Argument("str", default="b9prov"),
    "unix_socket": Argument("str"),
    "dest": Argument("str"),
    "creates": Argument("str"),
    "removes": Argument("str"),
    **files.ATTRIBUTES,
}

LIMIT = 64 * 1024 * 1024
_SAFE = ("GET", "HEAD")


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Send one request; a status that is not among `status_code` is a failure."""
    needless = _needless(arguments)
    if needless:
        return {"changed": False, "stdout": needless}
    if context.check:
        msg = "remote module (uri) does not support check mode"
        return {"changed": False, "skipped": True, "msg": msg}
    accepted = [int(code) for code in arguments["status_code"]]
    started = time.monotonic()
    result, content = _exchange(arguments)
    result["elapsed"] = int(time.monotonic() - started)
    text = content.decode("utf-8", "replace")
    if _is_json(result.get("content_type", "")):
        try:
            result["json"] = json.loads(text)
        except ValueError:
            result.pop("json", None)
    if arguments["return_content"]:
        result["content"] = text
    if result["status"] not in accepted:
        msg = f"Status code was {result['status']} and not {accepted}: {result.pop('msg')}"
        raise ModuleFailed(msg, **{k: v for k, v in result.items() if k != "changed"})
    if arguments["dest"]:
        _save(content, arguments, result)
    return result


def _needless(arguments: dict[str, Any]) -> str:
    for name, present in (("creates", True), ("removes", False)):
        path = arguments[name]
        if path and os.path.exists(files.expand(path)) == present:
            return f"skipped, since '{path}' {'exists' if present else 'does not exist'}"
    return ""


def _exchange(arguments: dict[str, Any]) -> tuple[Result, bytes]:
    url = arguments["url"]
    request = build(arguments)
    try:
        with opener(arguments).open(request, timeout=arguments["timeout"]) as answer:
            return _answer(answer, url), _read(answer)
    except urllib.error.HTTPError as error:
        result = _answer(error, url)
        result["msg"] = f"HTTP Error {error.code}: {error.reason}"
        return result, _read(error)
    except (OSError, http.client.HTTPException, ValueError) as error:
        msg = f"Request failed: {error}"
        return {"changed": False, "status": -1, "url": url, "redirected": False, "msg": msg}, b""


def build(arguments: dict[str, Any]) -> urllib.request.Request:
    """The request that the arguments describe."""
    method = arguments["method"].upper()
    if not re.fullmatch("[A-Z]+", method):
        raise ModuleFailed("Parameter 'method' needs to be a single word, like GET or POST.")
    headers = {name: str(value) for name, value in (arguments["headers"] or {}).items()}
    names = {name.lower() for name in headers}
    body, kind = _body(arguments)
    if kind and "content-type" not in names:
        headers["Content-Type"] = kind
    if "user-agent" not in names:
        headers["User-Agent"] = arguments["http_agent"]
    if arguments["url_username"] and "authorization" not in names:
        pair = f"{arguments['url_username']}:{arguments['url_password'] or ''}"
        headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
    try:
        return urllib.request.Request(arguments["url"], data=body, headers=headers, method=method)
    except ValueError as error:
        raise ModuleFailed(f"bad url {arguments['url']!r}: {error}") from None


def _body(arguments: dict[str, Any]) -> tuple[bytes | None, str]:
    body, how = arguments["body"], arguments["body_format"]
    kind = {"json": "application/json", "form-urlencoded": "application/x-www-form-urlencoded"}
    if body is None:
        return None, kind.get(how, "")
    if how == "json" and not isinstance(body, str):
        body = json.dumps(body)
    elif how == "form-urlencoded" and not isinstance(body, str):
        pairs = body.items() if isinstance(body, dict) else body
        body = urllib.parse.urlencode([(k, v) for k, v in pairs if v is not None], doseq=True)
    elif not isinstance(body, str):
        body = json.dumps(body)
    return body.encode("utf-8"), kind.get(how, "")


def opener(arguments: dict[str, Any]) -> urllib.request.OpenerDirector:
    """How requests go out: redirects, proxies, certificates, a Unix socket."""
    handlers: list[Any] = [_Redirects(arguments["follow_redirects"])]
    if not arguments["use_proxy"]:
        handlers.append(urllib.request.ProxyHandler({}))
    if arguments["unix_socket"]:
        handlers.append(_UnixHandler(files.expand(arguments["unix_socket"])))
    if arguments["url"].lower().startswith("https:"):
        try:
            handlers.append(urllib.request.HTTPSHandler(context=_tls(arguments)))
        except OSError as error:
            raise ModuleFailed(f"ca_path {arguments['ca_path']}: {error}") from None
    return urllib.request.build_opener(*handlers)


def _tls(arguments: dict[str, Any]) -> ssl.SSLContext:
    path = arguments["ca_path"] and files.expand(arguments["ca_path"])
    directory = bool(path) and os.path.isdir(path)
    context = ssl.create_default_context(
        cafile=None if directory else path, capath=path if directory else None
    )
    if not arguments["validate_certs"]:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects as `follow_redirects` says; "safe" follows those of GET and HEAD."""

    def __init__(self, follow: str) -> None:
        self.follow = follow

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, url: str
    ) -> Any:
        if self.follow == "none" or (self.follow == "safe" and req.get_method() not in _SAFE):
            return None
        new = super().redirect_request(req, fp, code, msg, headers, url)
        if new is not None and _origin(new.full_url) != _origin(req.full_url):
            new.remove_header("Authorization")  # it is for the host that was asked
        return new


def _origin(url: str) -> tuple[str, str]:
    parts = urllib.parse.urlsplit(url)
    return parts.scheme, parts.netloc


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str, host: str, **options: Any) -> None:
        super().__init__(host, **options)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class _UnixHandler(urllib.request.HTTPHandler):
    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def http_open(self, req: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(functools.partial(_UnixConnection, self.path), req)


def _answer(answer: Any, asked: str) -> Result:
    headers = {k.lower().replace("-", "_"): v for k, v in answer.headers.items()}
    msg = f"OK ({answer.headers.get('Content-Length', 'unknown')} bytes)"
    url = answer.geturl()
    own = {"changed": False, "status": int(answer.status), "url": url, "msg": msg}
    return {**headers, **own, "redirected": url != asked}


def _read(answer: Any) -> bytes:
    content = answer.read(LIMIT + 1)
    if len(content) > LIMIT:
        raise ModuleFailed(f"the answer is larger than {LIMIT} bytes; get_artifact is for such")
    return bytes(content)


def _is_json(content_type: str) -> bool:
    kind = content_type.split(";")[0].strip().lower()
    return kind.rpartition("/")[2].rpartition("+")[2] in ("json", "javascript")


def _save(content: bytes, arguments: dict[str, Any], result: Result) -> None:
    path = Path(files.expand(arguments["dest"]))
    if path.is_dir():
        path = path / (Path(urllib.parse.urlsplit(result["url"]).path).name or "index.html")
    new = hashlib.sha256(content).hexdigest()
    if not path.exists() or files.digest(path) != new:
        files.write(path, content, arguments)
        result["changed"] = True
    elif files.set_attributes(path, arguments, check=False)[1]:
        result["changed"] = True
    result["path"] = str(path)
