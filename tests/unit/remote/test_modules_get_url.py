"""get_url against a server on loopback that minds dates, logins, redirects and encodings."""

from __future__ import annotations

import base64
import gzip
import hashlib
import threading
from collections.abc import Iterator
from email.utils import formatdate, parsedate_to_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed

TEXT = b"content\n"
SHA256 = hashlib.sha256(TEXT).hexdigest()
CHANGED_AT = 1_700_000_000
LOGIN = "Basic " + base64.b64encode(b"u:p w").decode()


class Handler(BaseHTTPRequestHandler):
    """What each path gives: status, headers, body."""

    asked: list[tuple[str, str]]

    def log_message(self, *args: object) -> None:
        return

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path))
        status, headers, body = self.answer()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        since = self.headers.get("If-Modified-Since")
        if self.path == "/f.txt":
            if since and parsedate_to_datetime(since).timestamp() >= CHANGED_AT:
                return 304, {}, b""
            return 200, {"Last-Modified": formatdate(CHANGED_AT, usegmt=True)}, TEXT
        if self.path == "/auth" and self.headers.get("Authorization") != LOGIN:
            return 401, {}, b""
        return {
            "/auth": (200, {}, TEXT),
            "/redirect": (302, {"Location": "/f.txt"}, b""),
            "/named": (200, {"Content-Disposition": 'attachment; filename="../n.txt"'}, TEXT),
            "/gzip": (200, {"Content-Encoding": "gzip"}, gzip.compress(TEXT)),
            "/short": (200, {"Content-Length": "100"}, b"abc"),
            "/header": (200, {}, (self.headers.get("X-Wanted") or "").encode()),
            "/gnu": (200, {}, f"{'0' * 64}  other\n{SHA256} *./f.txt\n".encode()),
            "/bsd": (200, {}, f"SHA256 (f.txt) = {SHA256}\n".encode()),
            "/single": (200, {}, SHA256.encode()),
        }.get(self.path, (404, {}, b"no"))


@pytest.fixture
def asked() -> list[tuple[str, str]]:
    """The requests that came in."""
    return []


@pytest.fixture
def base(asked: list[tuple[str, str]]) -> Iterator[str]:
    """The base URL of the server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("H", (Handler,), {"asked": asked}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_loads_once(apply: Any, tmp_path: Path, base: str, asked: Any) -> None:
    arguments = {"url": f"{base}/f.txt", "dest": str(tmp_path / "f")}
    foreseen = apply("get_url", **arguments, check=True)
    assert foreseen["changed"] and not list(tmp_path.iterdir())
    assert asked == [("HEAD", "/f.txt")]
    done = apply("get_url", **arguments, mode="0640")
    assert done["changed"] and done["status_code"] == 200 and done["mode"] == "0640"
    assert done["checksum_src"] == hashlib.sha1(TEXT).hexdigest() and not done["checksum_dest"]
    again = apply("get_url", **arguments)
    assert not again["changed"] and again["status_code"] == 304
    forced = apply("get_url", **arguments, force=True)
    assert not forced["changed"] and forced["status_code"] == 200
    assert [path.name for path in tmp_path.iterdir()] == ["f"]
    (tmp_path / "f").write_text("other")
    assert apply("get_url", **arguments, force=True, backup=True)["backup_file"]
    assert (tmp_path / "f").read_bytes() == TEXT


def test_a_right_checksum_asks_nobody(apply: Any, tmp_path: Path, base: str, asked: Any) -> None:
    path = tmp_path / "f"
    path.write_bytes(TEXT)
    arguments = {"url": f"{base}/f.txt", "dest": str(path), "checksum": f"sha256:{SHA256}"}
    assert not apply("get_url", **arguments)["changed"] and asked == []
    assert apply("get_url", **arguments, mode="0600", check=True)["changed"]
    assert path.stat().st_mode & 0o777 != 0o600
    assert apply("get_url", **arguments, mode="0600")["changed"]
    path.write_text("newer than the server's, but wrong")
    assert apply("get_url", **arguments)["changed"] and path.read_bytes() == TEXT


@pytest.mark.parametrize("listing", ["gnu", "bsd", "single"])
def test_checksum_of_a_list(apply: Any, tmp_path: Path, base: str, listing: str) -> None:
    path = tmp_path / "f"
    arguments = {"url": f"{base}/f.txt", "dest": str(path)}
    assert apply("get_url", **arguments, checksum=f"sha256:{base}/{listing}")["changed"]
    assert path.read_bytes() == TEXT
    arguments.update(url=f"{base}/header", checksum=f"sha256:{base}/single", force=True)
    with pytest.raises(ModuleFailed, match="did not match"):
        apply("get_url", **arguments)
    assert path.read_bytes() == TEXT


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("/nowhere", {}, "Request failed"),
        ("/nowhere", {"check": True}, "Request failed"),
        ("/auth", {}, "Request failed"),
        ("/short", {}, "broke off at byte 3 of 100"),
        ("/f.txt", {"checksum": "sha256:abcd"}, "did not match"),
        ("/f.txt", {"checksum": "abcd"}, "format <algorithm>"),
        ("/f.txt", {"checksum": "md5:xyz"}, "format is invalid"),
        ("/f.txt", {"checksum": "nope:ab"}, "no checksum algorithm"),
        ("/other.txt", {"checksum": "sha256:BASE/gnu"}, "Unable to find a checksum"),
        ("/f.txt", {"dest": "no/f"}, "does not exist"),
        ("/f.txt", {"tmp_dest": "no"}, "does not exist"),
    ],
)
def test_fails_and_leaves_nothing(
    apply: Any, tmp_path: Path, base: str, path: str, arguments: Any, message: str
) -> None:
    arguments = {"dest": "f", **arguments}
    for name in ("dest", "tmp_dest"):
        if name in arguments:
            arguments[name] = str(tmp_path / arguments[name])
    arguments["checksum"] = arguments.get("checksum", "").replace("BASE", base)
    with pytest.raises(ModuleFailed, match=message):
        apply("get_url", url=base + path, **arguments)
    assert not list(tmp_path.iterdir())


def test_no_server(apply: Any, tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="Connection refused"):
        apply("get_url", url="http://127.0.0.1:1/f", dest=str(tmp_path / "f"))


def test_into_a_folder(apply: Any, tmp_path: Path, base: str) -> None:
    for path, name in (("/redirect", "f.txt"), ("/named", "n.txt")):
        assert apply("get_url", url=base + path, dest=str(tmp_path))["dest"].endswith(f"/{name}")
        assert not apply("get_url", url=base + path, dest=f"{tmp_path}/")["changed"]
        assert (tmp_path / name).read_bytes() == TEXT


def test_login_headers_and_encoding(apply: Any, tmp_path: Path, base: str) -> None:
    login = {"username": "u", "password": "p w"}
    assert apply("get_url", url=f"{base}/auth", dest=str(tmp_path / "a"), **login)["changed"]
    url = f"{base}/auth".replace("//", "//u:p%20w@")
    named = apply("get_url", url=url, dest=str(tmp_path / "b"))
    assert named["changed"] and "p%20w" not in str(named) and "p w" not in str(named)
    header = {"headers": {"X-Wanted": "yes"}}
    apply("get_url", url=f"{base}/header", dest=str(tmp_path / "c"), **header)
    assert (tmp_path / "c").read_text() == "yes"
    apply("get_url", url=f"{base}/gzip", dest=str(tmp_path / "d"))
    assert (tmp_path / "d").read_bytes() == TEXT
    apply("get_url", url=f"{base}/gzip", dest=str(tmp_path / "e"), decompress=False)
    assert gzip.decompress((tmp_path / "e").read_bytes()) == TEXT


def test_a_file_of_the_host(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(TEXT)
    arguments = {"url": f"file://{tmp_path}/f", "dest": str(tmp_path / "g")}
    assert apply("get_url", **arguments)["changed"] and not apply("get_url", **arguments)["changed"]
    assert (tmp_path / "g").read_bytes() == TEXT
