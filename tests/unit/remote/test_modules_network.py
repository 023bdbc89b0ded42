"""uri and wait_for against servers on loopback."""

from __future__ import annotations

import json
import socket
import socketserver
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked; the path may choose status or redirection."""

    def log_message(self, *args: object) -> None:
        return

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length).decode()
        if self.path.startswith("/to/"):
            self.send_response(302)
            self.send_header("Location", self.path[3:])
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        status = int(self.path[1:]) if self.path[1:].isdigit() else 200
        headers = {name.lower(): value for name, value in self.headers.items()}
        told = {"method": self.command, "path": self.path, "body": body, "headers": headers}
        raw = json.dumps(told).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json; charset=utf-8")
        self.send_header("X-Some-Header", "value")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_PUT = _answer


@pytest.fixture
def echo() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Echo)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_json_and_headers(apply: Any, echo: str) -> None:
    result = apply("uri", url=f"{echo}/x")
    assert result["status"] == 200 and not result["changed"] and not result["redirected"]
    assert result["json"]["method"] == "GET" and "content" not in result
    assert result["x_some_header"] == "value" and result["url"] == f"{echo}/x"
    assert "b9prov" in result["json"]["headers"]["user-agent"]
    assert json.loads(apply("uri", url=echo, return_content=True)["content"])["path"] == "/"


def test_bodies(apply: Any, echo: str) -> None:
    def said(**arguments: Any) -> Any:
        return apply("uri", url=echo, method="POST", **arguments)["json"]

    sent = said(body={"a": [1, "ü"]}, body_format="json")
    assert json.loads(sent["body"]) == {"a": [1, "ü"]}
    assert sent["headers"]["content-type"] == "application/json"
    sent = said(body={"a": "b c", "d": ["1", "2"]}, body_format="form-urlencoded")
    assert sent["body"] == "a=b+c&d=1&d=2"
    assert said(body="raw", headers={"X-Token": 5})["headers"]["x-token"] == "5"


def test_status_codes(apply: Any, echo: str) -> None:
    with pytest.raises(ModuleFailed, match=r"Status code was 404 and not \[200\]") as caught:
        apply("uri", url=f"{echo}/404")
    assert caught.value.extra["status"] == 404 and caught.value.extra["json"]["path"] == "/404"
    assert apply("uri", url=f"{echo}/404", status_code=[200, 404])["status"] == 404
    assert apply("uri", url=f"{echo}/204", status_code="204")["status"] == 204


def test_no_server(apply: Any) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(ModuleFailed, match=r"Status code was -1.*refused"):
        apply("uri", url=f"http://127.0.0.1:{port}/")


def test_login_is_sent_but_not_shown(apply: Any, echo: str) -> None:
    result = apply("uri", url=echo, url_username="me", url_password="hidden", force_basic_auth=True)
    assert result["json"]["headers"]["authorization"] == "Basic bWU6aGlkZGVu"
    assert "hidden" not in json.dumps(result)


def test_redirects(apply: Any, echo: str) -> None:
    assert apply("uri", url=f"{echo}/to/x")["redirected"]
    assert apply("uri", url=f"{echo}/to/x", follow_redirects="none", status_code=302)
    posted = {"method": "POST", "body": "x", "status_code": 302}
    assert apply("uri", url=f"{echo}/to/x", **posted)["location"] == "/x"


def test_dest_check_mode_and_creates(apply: Any, echo: str, tmp_path: Path) -> None:
    dest = tmp_path / "got"
    assert apply("uri", url=f"{echo}/x", dest=str(dest), check=True)["skipped"]
    assert not dest.exists()
    assert apply("uri", url=f"{echo}/x", dest=str(dest), mode="0600")["changed"]
    assert json.loads(dest.read_text())["path"] == "/x"
    assert not apply("uri", url=f"{echo}/x", dest=str(dest), mode="0600")["changed"]
    assert "skipped" in apply("uri", url=f"{echo}/404", creates=str(dest))["stdout"]


def test_unix_socket(apply: Any, tmp_path: Path) -> None:
    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        def get_request(self) -> Any:
            return super().get_request()[0], ("local", 0)

    path = tmp_path / "s"
    with Server(str(path), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        result = apply("uri", url="http://localhost/x", unix_socket=str(path))
        server.shutdown()
        thread.join()
    assert result["json"]["path"] == "/x"


def test_wait_for_a_port_that_opens(apply: Any) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        with pytest.raises(ModuleFailed, match=f"Timeout when waiting for 127.0.0.1:{port}"):
            apply("wait_for", port=port, timeout=0)
        timer = threading.Timer(0.3, listener.listen)
        timer.start()
        started = time.monotonic()
        assert apply("wait_for", port=port, timeout=10)["state"] == "started"
        assert time.monotonic() - started < 2
        timer.join()
        with pytest.raises(ModuleFailed, match="to stop"):
            apply("wait_for", port=port, state="stopped", timeout=0)
        with pytest.raises(ModuleFailed, match="own words"):
            apply("wait_for", port=port, state="stopped", timeout=0, msg="own words")
    assert apply("wait_for", port=port, state="stopped", timeout=1)


def test_wait_for_words_of_a_port(apply: Any) -> None:
    class Greeter(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"SSH-2.0-Some_1\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        port = server.server_address[1]
        found = apply("wait_for", port=port, search_regex=r"SSH-(\S+)-Some", timeout=5)
        with pytest.raises(ModuleFailed, match="search string FTP"):
            apply("wait_for", port=port, search_regex="FTP", timeout=0)
        server.shutdown()
        thread.join()
    assert found["match_groups"] == ["2.0"]


def test_wait_for_a_path(apply: Any, tmp_path: Path) -> None:
    path = tmp_path / "f"
    timer = threading.Timer(0.2, path.write_text, args=["key=value"])
    timer.start()
    result = apply("wait_for", path=str(path), search_regex="key=(?P<what>.*)", timeout=10)
    assert result["match_groupdict"] == {"what": "value"}
    timer.join()
    with pytest.raises(ModuleFailed, match="absent"):
        apply("wait_for", path=str(path), state="absent", timeout=0)
    path.unlink()
    assert apply("wait_for", path=str(path), state="absent", timeout=0)


def test_wait_for_drained(apply: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        server, _ = listener.accept()
        with pytest.raises(ModuleFailed, match="to drain"):
            apply("wait_for", port=port, state="drained", timeout=0)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        server.close()
        client.close()
    assert apply("wait_for", port=port, state="drained", timeout=5)
