"""Who is let in by `b9prov web`, and what it tells them."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from provisioner.agent.tui.sight import Sight
from provisioner.inventory import Host
from provisioner.web import server as web
from provisioner.web.fleet import Fleet
from provisioner.web.rows import COLUMNS, row
from provisioner.web.server import Server

VARIABLES = {
    "agent": {"control_port": 0},
    "k3s": {"enabled": True, "mode": "server"},
    "ollama": {"enabled": True},
    "pool": "gpu",
}
HOST = Host("w1", "192.0.2.1", variables=VARIABLES)
UNITS = {"b9-tunnel": "active", "b9agent": "active", "k3s": "active", "ollama": "active"}
STATUS = {
    "state": "ready",
    "hostname": "10.199.0.1",
    "last_keepalive": 1_700_000_000.5,
    "tunnel": {"outward": True, "inward": True},
    "gpus": 8,
    "metrics": {"free_gpu_count": 3, "cpu_utilization_pct": 12.34, "memory_utilization_pct": 5},
}

INFERENCE = {"status": "running", "models": ["a", "b"]}


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Of one host, whose news come from the test: it is not watched."""
    fleet = Fleet([HOST], "strict")
    yield fleet
    fleet.close()


@pytest.fixture
def server(fleet: Fleet) -> Iterator[Server]:
    server = Server(fleet)
    server.begin()
    yield server
    server.close()


def ask(server: Server, path: str, method: str = "GET", **headers: str) -> Any:
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    line.request(method, path, headers=headers)
    answer = line.getresponse()
    body = answer.read().decode()
    return SimpleNamespace(status=answer.status, body=body, headers=answer.headers)


def cookie(server: Server) -> str:
    return f"b9prov_{server.port}={server.token}"


def test_the_link_gives_a_cookie_and_no_more_is_in_the_address(server: Server) -> None:
    assert server.url == f"http://127.0.0.1:{server.port}/?token={server.token}"
    answer = ask(server, f"/?token={server.token}")
    assert (answer.status, answer.headers["Location"]) == (303, "/")
    given = answer.headers["Set-Cookie"]
    assert given.startswith(cookie(server)) and "HttpOnly" in given and "SameSite=Strict" in given
    page = ask(server, "/", Cookie=f"other=1; {cookie(server)}")
    assert page.status == 200 and "w1" in page.body and "never" not in page.headers
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")


@pytest.mark.parametrize("path", ["/", "/events", "/web.js", "/?token=", "/?token=wrong", "/x"])
@pytest.mark.parametrize(
    "held", ["", "b9prov=1", "b9prov_{port}=wrong", "b9prov_{port}=\xfc", ";;="]
)
def test_without_the_link_nobody_is_told_anything(server: Server, path: str, held: str) -> None:
    answer = ask(server, path, Cookie=held.format(port=server.port))
    assert answer.status == 403 and "w1" not in answer.body and server.token not in answer.body


@pytest.mark.parametrize("twice", ["token={0}&token={0}", "token={0}x", "token=é"])
def test_a_link_that_is_not_quite_it_does_not_do(server: Server, twice: str) -> None:
    query = twice.format(server.token).encode("ascii", "xmlcharrefreplace").decode()
    assert ask(server, f"/?{query}").status == 403


@pytest.mark.parametrize(
    "name", ["evil.example", "127.0.0.1.evil.example:80", "", "0.0.0.0", "a@b"]
)
def test_a_name_that_others_have_made_lead_here_is_refused(server: Server, name: str) -> None:
    answer = ask(server, f"/?token={server.token}", Host=name, Cookie=cookie(server))
    assert answer.status == 421 and "Set-Cookie" not in answer.headers


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost:9000", "[::1]:80", "LOCALHOST"])
def test_own_names_are_good_at_any_port(server: Server, name: str) -> None:
    assert ask(server, "/", Host=name, Cookie=cookie(server)).status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_there_is_nothing_to_do(server: Server, method: str) -> None:
    assert ask(server, "/", method, Cookie=cookie(server)).status == 501


def test_it_is_on_loopback_alone(server: Server) -> None:
    assert server._http.socket.getsockname()[0] == "127.0.0.1"


def events(line: Any) -> Iterator[tuple[str, Any]]:
    while kind := line.readline().decode():
        data = json.loads(line.readline().decode().partition(": ")[2])
        assert line.readline() == b"\n"
        yield kind.strip().partition(": ")[2], data


def test_a_stream_tells_all_then_what_changes_then_the_end(server: Server, fleet: Fleet) -> None:
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    line.request("GET", "/events", headers={"Cookie": cookie(server)})
    stream = events(line.getresponse())
    kind, data = next(stream)
    assert (kind, data["rows"][0]["cells"]["ready"]) == ("all", ["calling", "busy"])
    fleet._see("w1", Sight(STATUS, {"models": ["a", "b"]}, reached=True))
    kind, data = next(stream)
    assert (kind, data["rows"][0]["cells"]["ready"]) == ("rows", ["ready", "good"])
    assert data["rows"][0]["seen"] == 1_700_000_000.5 and data["now"] > 1_700_000_000
    fleet._see("w1", Sight(STATUS, {"models": ["a", "b"]}, reached=True))  # nothing new
    fleet._see("w1", Sight(STATUS, {}, trouble="gone", reached=False))
    kind, data = next(stream)
    assert (kind, data["rows"][0]["why"]) == ("rows", "gone")
    fleet.close()
    assert next(stream)[0] == "end"


def test_a_line_that_has_nothing_to_tell_shows_life(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(web, "BEAT", 0.05)
    line = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    line.request("GET", "/events", headers={"Cookie": cookie(server)})
    stream = events(line.getresponse())
    assert [next(stream)[0] for _ in range(3)] == ["all", "beat", "beat"]


def test_more_clients_than_there_is_room_for_are_hung_up_on(server: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(web.CLIENTS)]
    with pytest.raises((http.client.HTTPException, OSError)):
        ask(server, "/")
    for each in held:
        each.close()
    done = threading.Event()
    for _ in range(100):
        try:
            assert ask(server, "/").status == 403
            return
        except (http.client.HTTPException, OSError):
            done.wait(0.05)
    raise AssertionError("there is no room again")


def cells(sight: Sight, units: dict[str, str] | None = None) -> dict[str, list[str]]:
    return row(HOST, sight, UNITS if units is None else units)["cells"]


def test_a_row_of_a_worker_that_is_well() -> None:
    seen = cells(Sight(STATUS, INFERENCE, reached=True))
    assert set(seen) | {"keepalive"} == set(COLUMNS)
    assert {name: cell[0] for name, cell in seen.items()} == {
        "ready": "ready",
        "pool": "gpu",
        "address": "10.199.0.1",
        "tunnel": "up",
        "agent": "ready",
        "k3s": "active",
        "ollama": "2 models",
        "gpus": "3/8 free",
        "cpu": "12.3%",
        "memory": "5.0%",
    }


def test_a_row_of_one_that_is_not() -> None:
    down = {**STATUS, "tunnel": {"outward": True, "inward": False}}
    assert cells(Sight(down, {}, reached=True))["tunnel"] == ["in down", "bad"]
    assert cells(Sight(down, {}, reached=True))["ready"] == ["not ready", "bad"]
    failed = cells(Sight(STATUS, {}, reached=True), {**UNITS, "k3s": "failed"})
    assert (failed["ready"], failed["k3s"]) == (["not ready", "bad"], ["failed", "bad"])
    stopped = Sight(STATUS, {}, trouble="nothing listens there", reached=True)
    shown = cells(stopped, {**UNITS, "b9agent": "inactive"})
    assert (shown["ready"], shown["agent"]) == (["no agent", "bad"], ["inactive", "bad"])
    assert (shown["tunnel"], shown["cpu"][0]) == (["active", "good"], "-")
    assert cells(Sight(STATUS, {"status": "failed"}, reached=True))["ollama"] == ["failed", "bad"]
    gone = cells(Sight(STATUS, {}, trouble="connection refused"), {})
    assert gone["ready"] == ["unreachable", "bad"] and gone["k3s"][0] == "-"


def test_what_is_not_wanted_is_not_judged() -> None:
    off = {**VARIABLES, "k3s": {"enabled": False}, "ollama": {"enabled": False}}
    units = {**UNITS, "k3s": "inactive", "ollama": "failed"}
    shown = row(Host("w1", "x", variables=off), Sight(STATUS, {}, reached=True), units)["cells"]
    assert (shown["ready"][0], shown["k3s"][0], shown["ollama"][0]) == ("ready", "-", "-")
    other = {**VARIABLES, "k3s": {"enabled": True, "mode": "existing"}}
    shown = row(Host("w1", "x", variables=other), Sight(STATUS, {}, reached=True), units)["cells"]
    assert (shown["ready"][0], shown["k3s"][0]) == ("ready", "-")


def test_what_a_worker_says_is_one_line_of_plain_text() -> None:
    told = {**STATUS, "problems": ["a\n\x1b[31mb\x00<script>"], "last_error": ""}
    assert row(HOST, Sight(told, {}, reached=True), UNITS)["why"] == "a b<script>"
