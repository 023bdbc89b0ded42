"""The control API over its socket: what it serves, to whom, and what it refuses."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import httpx
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from scripted_ollama import ScriptedOllama, serve

from provisioner.agent.control import exposition, guard, routes, server, web
from provisioner.agent.control.desk import Desk
from provisioner.agent.control.openapi import DOCUMENT
from provisioner.agent.control.server import CannotListen, Server
from provisioner.agent.http import Endpoint
from provisioner.agent.hub import Hub
from provisioner.agent.inference.backend import BackendError
from provisioner.agent.inference.manager import Manager
from provisioner.agent.inference.ollama import Ollama
from provisioner.agent.log import Log
from provisioner.agent.pods import NoSuchPod, Pod, Pods, PodsProblem

PATIENCE = 10.0
TOKEN = "a-token-of-the-control-api"
METRICS = {"cpu_utilization_pct": 12.5, "total_memory_available": 1024, "free_gpu_count": 2}
STATUS = {
    "state": "ready", "machine_id": "e13daa82", "pool": "gpu", "gateway": "127.0.0.1:1994",
    "hostname": "10.199.0.7", "since": 1.0, "last_keepalive": 2.5, "last_error": "",
    "version": "0.1", "pid": 7, "started": 0.5, "keepalives": 3, "failures": 1, "metrics": METRICS,
    "tunnel": {"outward": True, "inward": None}, "problems": ["disk: full"], "gpus": 2,
}  # fmt: skip


@dataclass
class NotedServant:
    """Stands for systemd: notes what it is told, and has the stand-in of Ollama come and go."""

    refuse: str = ""
    told: list[str] = field(default_factory=list)
    failed: bool = False

    def start(self) -> None:
        self._note("start")

    def stop(self) -> None:
        self._note("stop")

    def close(self) -> None:
        self._note("close")

    def _note(self, verb: str) -> None:
        if self.refuse:
            raise BackendError(self.refuse)
        self.told.append(verb)


class ScriptedPods:
    """Stands for a k3s with one pod; the log of another one can't be had."""

    def __init__(self) -> None:
        self.problem = ""
        self.tails: list[int] = []

    def ask(self) -> list[Pod]:
        if self.problem:
            raise PodsProblem(self.problem)
        return [Pod("worker-gpu-1-x", "Running", 1, 1, "5m")]

    def log(self, name: str, tail: int) -> bytes:
        if name not in [pod.name for pod in self.ask()]:
            raise NoSuchPod(f"there is no pod {name}")
        self.tails.append(tail)
        return b"hello\n\xff\x1b[31mred\n"


@dataclass
class Control:
    """A server of the API, its parts, and a client."""

    server: Server
    hub: Hub
    servant: NotedServant
    ollama: ScriptedOllama
    pods: ScriptedPods
    headers: dict[str, str] = field(default_factory=dict)

    def ask(self, method: str, path: str, **more: Any) -> requests.Response:
        more.setdefault("headers", self.headers)
        url = f"http://{self.server.endpoint}{path}"
        return requests.request(method, url, timeout=PATIENCE, **more)

    def events(self, headers: dict[str, str] | None = None) -> Any:
        url = f"http://{self.server.endpoint}/events"
        return httpx.stream("GET", url, headers=headers, timeout=PATIENCE)

    def raw(self, text: bytes) -> bytes:
        """What comes for these bytes, until the end."""
        with socket.create_connection(self.server.endpoint[:2], PATIENCE) as connection:
            connection.sendall(text)
            return b"".join(iter(lambda: connection.recv(65536), b""))

    def wait(self, kind: str, **wanted: Any) -> dict[str, Any]:
        """What was told of that kind and with these values, awaited."""
        give_up = time.monotonic() + PATIENCE
        number = 0
        while time.monotonic() < give_up:
            for each in self.hub.wait(number, 0.5):
                number = each.number
                if each.kind == kind and wanted.items() <= each.data.items():
                    return each.data
        raise AssertionError(f"no {kind} {wanted}: {self.hub.since(0)}")


@contextmanager
def controlled(token: str = "") -> Iterator[Control]:
    hub, servant, log = Hub(), NotedServant(), Log()
    log.hear = lambda level, line: hub.tell("log", level=level, text=line)
    with serve(ScriptedOllama()) as ollama:
        manager = Manager(Ollama(ollama.endpoint), servant, hub, log)
        pods = ScriptedPods()
        desk = Desk(lambda: STATUS, manager, hub, cast(Pods, pods))
        running = Server(Endpoint("127.0.0.1", 0), token, lambda: desk, log)
        try:
            yield Control(running, hub, servant, ollama, pods)
        finally:
            running.stop()


@pytest.fixture
def control() -> Iterator[Control]:
    with controlled() as running:
        yield running


def test_it_says_how_the_agent_fares(control: Control) -> None:
    assert control.ask("GET", "/health").json() == {"status": "ok"}
    answer = control.ask("GET", "/status")
    assert answer.json() == STATUS
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


def test_it_says_how_the_server_of_models_fares(control: Control) -> None:
    control.ollama.loaded.add("gemma3:1b")
    assert control.ask("GET", "/inference/status").json() == {
        "status": "running",
        "backend": "ollama",
        "endpoint": str(control.ollama.endpoint),
        "models": ["gemma3:1b"],
        "loaded": ["gemma3:1b"],
        "pulls": [],
        "error": "",
    }
    models = control.ask("GET", "/inference/models").json()["models"]
    assert models == [{"name": "gemma3:1b", "size": 815319791, "loaded": True}]


def test_a_pull_is_followed_to_its_end(control: Control) -> None:
    answer = control.ask("POST", "/inference/pull", json={"model": "all-minilm"})
    assert answer.status_code == 202
    assert answer.json()["status"] == "pulling"
    control.wait("pull", detail="pulling 8934d96d3f08", total=3)
    again = control.ask("POST", "/inference/pull", json={"model": "all-minilm"})
    assert again.status_code == 202 and again.json()["model"] == "all-minilm"
    assert control.ollama.asked.count(("POST", "/api/pull")) == 1
    control.ollama.go.set()
    assert control.wait("pull", status="pulled")["model"] == "all-minilm"
    (pull,) = control.ask("GET", "/inference/status").json()["pulls"]
    assert (pull["status"], pull["completed"], pull["error"]) == ("pulled", 0, "")
    assert "all-minilm" in control.ask("GET", "/inference/status").json()["models"]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ([{"error": "pull model manifest: file does not exist"}], "file does not exist"),
        ([{"status": "pulling manifest"}], "ended early, after: pulling manifest"),
        ([], "ended early, after: nothing"),
    ],
)
def test_a_pull_that_fails_says_why(control: Control, script: list[Any], said: str) -> None:
    control.ollama.pull = script
    control.ollama.go.set()
    control.ask("POST", "/inference/pull", json={"model": "nonsense"})
    assert said in control.wait("pull", status="failed")["error"]
    assert said in control.wait("log", level="warning")["text"]


def test_no_more_than_a_few_pulls_at_once(control: Control) -> None:
    for number in range(4):
        assert control.ask("POST", "/inference/pull", json={"model": f"m{number}"}).ok
    answer = control.ask("POST", "/inference/pull", json={"model": "m4"})
    assert answer.status_code == 409 and "4 models" in answer.json()["error"]


def test_a_model_is_deleted(control: Control) -> None:
    assert control.ask("DELETE", "/inference/models/gemma3%3A1b").json() == {"deleted": "gemma3:1b"}
    assert control.ask("DELETE", "/inference/models/gemma3:1b").status_code == 404
    assert control.ask("DELETE", "/inference/models/%2E%2E/x").status_code == 404
    assert not control.ollama.models


def test_the_server_of_models_is_started_and_stopped(control: Control) -> None:
    assert control.ask("POST", "/inference/start").json()["status"] == "running"
    assert control.wait("inference", status="running")
    assert control.servant.told == ["start"]
    answer = control.ask("POST", "/inference/stop")
    assert (answer.status_code, answer.json()["status"]) == (202, "stopping")
    assert control.ask("POST", "/inference/start").json()["status"] == "running"
    assert control.servant.told == ["start", "stop", "start"]


def test_what_can_t_be_started_says_why(control: Control) -> None:
    control.servant.refuse = "only root may start ollama.service"
    answer = control.ask("POST", "/inference/start")
    assert answer.status_code == 503
    assert answer.json() == {"error": "only root may start ollama.service"}


def test_where_no_server_of_models_answers() -> None:
    hub, log = Hub(), Log()
    manager = Manager(Ollama(Endpoint("127.0.0.1", 1)), NotedServant(), hub, log)
    desk = Desk(lambda: STATUS, manager, hub, cast(Pods, ScriptedPods()))
    running = Server(Endpoint("127.0.0.1", 0), "", lambda: desk, log)
    control = Control(running, hub, NotedServant(), ScriptedOllama(), ScriptedPods())
    try:
        status = control.ask("GET", "/inference/status").json()
        assert status["status"] == "stopped" and "cannot reach" in status["error"]
        assert control.ask("GET", "/inference/models").status_code == 503
        answer = control.ask("POST", "/inference/pull", json={"model": "x"})
        assert answer.status_code == 503 and "start it first" in answer.json()["error"]
        assert control.ask("GET", "/metrics").ok
    finally:
        running.stop()


@pytest.mark.parametrize(
    ("method", "path", "more", "status"),
    [
        ("GET", "/nothing", {}, 404),
        ("POST", "/health", {}, 405),
        ("GET", "/inference/start", {}, 405),
        ("POST", "/inference/pull", {"data": "{}"}, 415),
        ("POST", "/inference/pull", {"json": {}}, 400),
        ("POST", "/inference/pull", {"json": []}, 400),
        ("POST", "/inference/pull", {"json": {"model": 5}}, 400),
        ("POST", "/inference/pull", {"json": {"model": "../../etc"}}, 400),
        ("POST", "/inference/pull", {"json": {"model": "x", "insecure": 1}}, 400),
        ("POST", "/inference/pull", {"json": {"model": "x", "quickly": True}}, 400),
        ("POST", "/inference/pull", {"json": {"model": "x" * 70000}}, 413),
    ],
)
def test_what_it_refuses(
    control: Control, method: str, path: str, more: dict[str, Any], status: int
) -> None:
    answer = control.ask(method, path, **more)
    assert answer.status_code == status
    assert set(answer.json()) == {"error"}
    if status == 405:
        assert method not in answer.headers["Allow"]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET health HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/2\r\n\r\n", 400),
        (b"GET /%FF HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nA : b\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        (b"POST /inference/pull HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /inference/pull HTTP/1.1\r\nContent-Length: 9e9\r\n\r\n", 400),
        (b"POST /inference/pull HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
        (b"POST /inference/pull HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 411),
        (b"GET /health HTTP/1.1\r\nA: " + b"x" * 40000, 431),
    ],
)
def test_what_is_no_request(control: Control, sent: bytes, status: int) -> None:
    assert control.raw(sent).startswith(b"HTTP/1.1 %d " % status)


def test_who_dawdles_is_sent_away(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.2)
    assert control.raw(b"GET /health HTTP/1.1\r\n").startswith(b"HTTP/1.1 408 ")


def test_what_happens_is_told_as_it_happens(control: Control) -> None:
    control.hub.tell("state", state="registered", error="")
    with control.events() as answer:
        assert answer.headers["Content-Type"] == "text/event-stream"
        lines = answer.iter_lines()
        assert next(lines) == "retry: 2000"
        assert read_event(lines) == ("1", "state", {"state": "registered", "error": ""})
        control.hub.tell("log", level="info", text="the machine is ready")
        number, kind, data = read_event(lines)
        assert (number, kind, data["text"]) == ("2", "log", "the machine is ready")
    with control.events({"Last-Event-ID": "1"}) as answer:
        assert read_event(answer.iter_lines())[0] == "2"


def read_event(lines: Iterator[str]) -> tuple[str, str, dict[str, Any]]:
    found: dict[str, str] = {}
    for line in lines:
        if not line and "data" in found:
            data = json.loads(found["data"])
            assert data.pop("at") > 0
            return found["id"], found["event"], data
        name, _, value = line.partition(": ")
        found[name] = value
    raise AssertionError("the stream ended")


def test_a_stream_ends_with_the_server(control: Control) -> None:
    with control.events() as answer:
        lines = answer.iter_lines()
        next(lines)
        control.server.stop()
        control.hub.tell("log", level="info", text="the last")
        with pytest.raises((httpx.HTTPError, StopIteration)):
            while True:
                next(lines)


def test_more_callers_than_there_is_room_for_are_sent_away(control: Control) -> None:
    held = [socket.create_connection(control.server.endpoint[:2], 5) for _ in range(server.MOST)]
    try:
        give_up = time.monotonic() + PATIENCE
        while len(control.server._connections) < server.MOST and time.monotonic() < give_up:
            time.sleep(0.01)
        with socket.create_connection(control.server.endpoint[:2], 5) as one_more:
            assert one_more.recv(1) == b""
    finally:
        for each in held:
            each.close()


def test_listeners_leave_room_for_others(control: Control) -> None:
    with contextlib.ExitStack() as open_ones:
        for _ in range(server.MOST_STREAMS):
            answer = open_ones.enter_context(control.events())
            next(answer.iter_lines())
        assert control.ask("GET", "/events").status_code == 429
        assert control.ask("GET", "/status").ok


def test_with_a_token_only_who_shows_it_is_served() -> None:
    with controlled(TOKEN) as control:
        assert control.ask("GET", "/health").ok
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {TOKEN}"}):
            answer = control.ask("GET", "/status", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert TOKEN not in answer.text
        assert control.ask("GET", "/status", headers={"Authorization": f"Bearer {TOKEN}"}).ok


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Host": "evil.example:9999"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "[::1"},
        {"Host": ""},
    ],
)
def test_web_pages_are_not_served(control: Control, headers: dict[str, str]) -> None:
    assert control.ask("POST", "/inference/stop", headers=headers).status_code == 403
    assert control.servant.told == []


def test_no_more_requests_than_a_machine_can_spare(
    control: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = [control.ask("POST", "/inference/start").status_code for _ in range(12)]
    assert codes[:10] == [202] * 10
    assert 429 in codes[10:]
    assert control.ask("GET", "/status").ok


def test_a_bucket_fills_again() -> None:
    now = [0.0]
    bucket = guard.Bucket(2.0, 3.0, lambda: now[0])
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]
    now[0] += 0.5
    assert bucket.take() == 0
    now[0] += 1000
    assert [bucket.take() for _ in range(4)] == [0, 0, 0, 0.5]


def test_an_address_that_is_taken() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        endpoint = Endpoint("127.0.0.1", taken.getsockname()[1])
        with pytest.raises(CannotListen, match="Address already in use"):
            Server(endpoint, "", lambda: pytest.fail("nobody asked"), Log())


def test_what_is_exported_is_what_prometheus_reads(control: Control) -> None:
    answer = control.ask("GET", "/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }
    assert found["b9agent_state", "ready"] == 1 and found["b9agent_state", "pending"] == 0
    assert found["b9agent_info", "0.1", "e13daa82", "gpu"] == 1
    assert found["b9agent_keepalives_total",] == 3
    assert found["b9agent_last_keepalive_time_seconds",] == 2.5
    assert found["b9agent_cpu_utilization_ratio",] == 0.125
    assert found["b9agent_offered_memory_bytes",] == 2**30
    assert found["b9agent_free_gpus",] == 2
    assert found["b9agent_tunnel_up", "outward"] == 1
    assert ("b9agent_tunnel_up", "inward") not in found
    assert found["b9agent_inference_state", "running"] == 1
    assert found["b9agent_inference_models",] == 1


def test_labels_and_helps_are_quoted() -> None:
    odd = 'a "quoted" \\ line\nand more'
    text = exposition.render([exposition.gauge("x", odd, exposition.Sample(1.5, {"l": odd}))])
    (family,) = text_string_to_metric_families(text.decode())
    assert family.samples[0].labels == {"l": odd} and family.samples[0].value == 1.5


def test_the_document_names_what_there_is() -> None:
    described = {
        re.sub(r"\{\w+\}", "(.+)", path): sorted(method.upper() for method in operations)
        for path, operations in DOCUMENT["paths"].items()
    }
    served = {route.path.pattern: sorted(route.methods) for route in routes.ROUTES}
    assert described == served


def test_an_error_of_its_own_is_no_end(control: Control, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> web.Answer:
        raise ZeroDivisionError("of the handler")

    monkeypatch.setattr(routes, "answer", broken)
    assert control.ask("GET", "/status").status_code == 500
    assert "ZeroDivisionError" in control.wait("log", level="error")["text"]
    monkeypatch.undo()
    assert control.ask("GET", "/status").ok


def test_listeners_wait_for_news() -> None:
    hub = Hub()
    threading.Timer(0.05, hub.tell, ("log",), {"text": "late"}).start()
    (found,) = hub.wait(0, PATIENCE)
    assert (found.number, found.data) == (1, {"text": "late"})
    assert hub.wait(1, 0.01) == []
    for _ in range(300):
        hub.tell("log")
    assert len(hub.since(0)) == 200
