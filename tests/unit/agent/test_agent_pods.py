"""What the agent learns of pods from a k3s; the real API is asked in tests/real."""

from __future__ import annotations

import io
import json
import ssl
import subprocess
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import pytest

from provisioner.agent.http import Endpoint
from provisioner.agent.log import Log
from provisioner.agent.pods import (
    LOG_BYTES,
    READ_BYTES,
    TABLE,
    NoSuchPod,
    Pod,
    Pods,
    PodsProblem,
    counts,
)

TOKEN = "token-of-the-k3s"
COLUMNS = ["Name", "Ready", "Status", "Restarts", "Age", "IP"]
ROWS = [
    ["worker-gpu-1-x", "1/1", "Running", 0, "5m", "10.0.0.1"],
    ["worker-gpu-2-y", "0/2", "ContainerCreating", 0, "3s", ""],
    ["worker-gpu-0-z", "0/1", "Completed", "2 (3h ago)", "3h", ""],
]


class K3sStandIn(BaseHTTPRequestHandler):
    """Answers what `answer` is, to who shows the token and asks for a table; what `log` is, to
    who asks for a log."""

    status = 200
    answer: Any = None
    log: tuple[int, bytes] = (200, b"")
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        if "/log?" in self.path:
            self.asked.append(self.path)
            self._send(*self.log)
            return
        assert self.path.startswith("/api/v1/namespaces/default/pods?labelSelector=run.beam.cloud")
        assert self.headers["Accept"] == TABLE
        allowed = self.headers["Authorization"] == f"Bearer {TOKEN}"
        body = self.answer if isinstance(self.answer, bytes) else json.dumps(self.answer).encode()
        self._send(self.status if allowed else 401, body)

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed one for 127.0.0.1, with its key behind it."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    more = "-subj /CN=k3s -addext subjectAltName=IP:127.0.0.1 -keyout key -out certificate"
    subprocess.run([*command.split(), *more.split()], cwd=folder, check=True, capture_output=True)
    return folder / "certificate"


@pytest.fixture
def k3s(certificate: Path) -> Iterator[Endpoint]:
    K3sStandIn.status, K3sStandIn.log = 200, (200, b"")
    K3sStandIn.asked.clear()
    K3sStandIn.answer = {
        "columnDefinitions": [{"name": name} for name in COLUMNS],
        "rows": [{"cells": row} for row in ROWS],
    }
    server = HTTPServer(("127.0.0.1", 0), K3sStandIn)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield Endpoint("127.0.0.1", server.server_address[1], True, certificate.read_text())
    server.shutdown()
    server.server_close()


def asked(endpoint: Endpoint, token: str = TOKEN) -> tuple[list[Pod], str]:
    """The pods, and what was said."""
    said = io.StringIO()
    pods = Pods(endpoint, token, Log(stream=said))
    return pods.now() + pods.now()[:0], said.getvalue()


def test_pods_and_how_they_fare(k3s: Endpoint) -> None:
    pods, said = asked(k3s)
    assert pods == [
        Pod("worker-gpu-1-x", "Running", 1, 1, "5m"),
        Pod("worker-gpu-2-y", "ContainerCreating", 0, 2, "3s"),
        Pod("worker-gpu-0-z", "Completed", 0, 1, "3h"),
    ]
    assert counts(pods) == (2, 1)
    assert said == ""


@pytest.mark.parametrize(
    ("status", "answer", "said"),
    [
        (403, {}, "status 403"),
        (200, b"<html>", "Expecting value"),
        (200, {"kind": "PodList", "items": []}, "columnDefinitions"),
        (200, {"columnDefinitions": [{"name": "Name"}], "rows": []}, "is not in list"),
        (200, {"columnDefinitions": [{"name": n} for n in COLUMNS], "rows": [{}]}, "cells"),
        (200, b" " * (2 << 20), "larger than"),
    ],
)
def test_what_it_can_t_make_out_is_said_once(
    k3s: Endpoint, status: int, answer: Any, said: str
) -> None:
    K3sStandIn.status, K3sStandIn.answer = status, answer
    pods, told = asked(k3s)
    assert pods == []
    assert told.count("it does not tell of its pods") == 1 and said in told


def test_it_shows_the_token_to_its_own_k3s_only(k3s: Endpoint, tmp_path: Path) -> None:
    """Whoever listens there while the k3s is down has no certificate of its authority."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"
    more = "-subj /CN=other -keyout key -out certificate"
    subprocess.run([*command.split(), *more.split()], cwd=tmp_path, check=True, capture_output=True)
    pods, said = asked(k3s._replace(ca=(tmp_path / "certificate").read_text()))
    assert pods == [] and "CERTIFICATE_VERIFY_FAILED" in said.upper().replace(" ", "_")
    assert asked(k3s._replace(ca="")) == ([], "")
    assert asked(k3s, "") == ([], "")
    assert "does not tell" in asked(k3s._replace(ca="no certificate"))[1]


def test_what_a_pod_wrote(k3s: Endpoint) -> None:
    K3sStandIn.log = (200, b"one\ntwo\n")
    assert Pods(k3s, TOKEN, Log()).log("worker-gpu-1-x", 7) == b"one\ntwo\n"
    path = "/api/v1/namespaces/default/pods/worker-gpu-1-x/log"
    assert K3sStandIn.asked == [f"{path}?tailLines=7&limitBytes={READ_BYTES}"]


def test_of_a_long_log_the_end_is_kept(k3s: Endpoint) -> None:
    K3sStandIn.log = (200, b"x" * READ_BYTES + b"the end\n")
    log = Pods(k3s, TOKEN, Log()).log("worker-gpu-1-x", 7)
    assert len(log) == LOG_BYTES and log.endswith(b"the end\n")


def test_a_pod_that_is_on_no_node_has_written_nothing(k3s: Endpoint) -> None:
    K3sStandIn.log = (204, b"")
    assert Pods(k3s, TOKEN, Log()).log("worker-gpu-2-y", 7) == b""


def test_pods_that_are_not_the_gateways_are_not_asked_for(k3s: Endpoint) -> None:
    with pytest.raises(NoSuchPod):
        Pods(k3s, TOKEN, Log()).log("database-0", 7)
    assert K3sStandIn.asked == []


@pytest.mark.parametrize(
    ("status", "body", "kind", "said"),
    [
        (404, b'{"message": "pods \\"x\\" not found"}', NoSuchPod, 'pods "x" not found'),
        (403, b'{"message": "pods \\"x\\" is\\n forbidden"}', PodsProblem, "is forbidden"),
        (400, b'{"message": "container is waiting to start"}', PodsProblem, "waiting to start"),
        (500, b"<html>", PodsProblem, "status 500"),
    ],
)
def test_why_a_log_can_t_be_had(
    k3s: Endpoint, status: int, body: bytes, kind: type[Exception], said: str
) -> None:
    K3sStandIn.log = (status, body)
    with pytest.raises(kind, match=said):
        Pods(k3s, TOKEN, Log()).log("worker-gpu-1-x", 7)


def test_without_a_token_it_says_so(k3s: Endpoint) -> None:
    with pytest.raises(PodsProblem, match="no token"):
        Pods(k3s, "", Log()).ask()
