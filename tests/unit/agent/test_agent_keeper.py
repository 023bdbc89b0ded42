"""The keeper against a scripted gateway over loopback, in the time of a manual clock."""

from __future__ import annotations

import io
import socket
from typing import Any

import pytest
from agent_scripted import (
    ALIVE,
    BROKEN,
    DATABASE_PASSWORD,
    GONE,
    REGISTERED,
    UNAUTHORIZED,
    ManualClock,
    ScriptedGateway,
    serve,
)

from provisioner.agent.gateway import Gateway
from provisioner.agent.http import Endpoint
from provisioner.agent.keeper import Keeper, Standing
from provisioner.agent.log import Log
from provisioner.agent.states import Action, State


class Run:
    """A keeper with what it published and wrote."""

    def __init__(self, port: int, waits: int, token: str = "machine-token-12345") -> None:
        self.clock = ManualClock(waits)
        self.lines = io.StringIO()
        self.published: list[Standing] = []
        self.keeper = Keeper(
            Gateway(Endpoint("127.0.0.1", port), token),
            {Action.REGISTER: lambda: {"r": 1}, Action.KEEPALIVE: lambda: {"k": 1}},
            self.clock,
            Log(debug=True, stream=self.lines),
            60,
            self.published.append,
        )

    def go(self) -> Run:
        self.keeper.run()
        return self

    @property
    def states(self) -> list[str]:
        return [standing.state.value for standing in self.published]


def test_a_gateway_that_gives_no_configuration_is_doubted(gateway: ScriptedGateway) -> None:
    """It has no way to this machine: said once, and no more when that has changed."""
    status, body = REGISTERED
    gateway.script.extend([(status, {**body, "config": None}), ALIVE, GONE, REGISTERED])
    run = Run(gateway.port, 4).go()
    assert run.lines.getvalue().count("gateway: it gave no configuration") == 1
    assert "gateway: well again" in run.lines.getvalue()


def test_register_then_keepalive_at_once_then_every_interval(gateway: ScriptedGateway) -> None:
    run = Run(gateway.port, 4).go()
    assert gateway.paths == ["register", "keepalive", "keepalive", "keepalive"]
    assert run.states == ["pending", "registered", "ready", "ready", "ready"]
    assert run.clock.waits[0] == 0
    assert all(54 <= wait <= 60 for wait in run.clock.waits[1:])
    assert gateway.requests[0].headers["Authorization"] == "Bearer machine-token-12345"
    assert gateway.requests[0].headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "gone",
    [
        GONE,
        (500, {"message": "x", "code": "machine_not_found"}),
        (404, {"error": "machine_not_found"}),
    ],
)
def test_expiry_registers_again_at_once(gateway: ScriptedGateway, gone: Any) -> None:
    gateway.script.extend([REGISTERED, ALIVE, gone])
    run = Run(gateway.port, 5).go()
    assert gateway.paths == ["register", "keepalive", "keepalive", "register", "keepalive"]
    assert run.states[-3:] == ["expired", "registered", "ready"]
    assert run.clock.waits[2:4] == [0, 0]
    assert run.published[-1].last_error == ""


def test_a_machine_that_slept_registers_again_at_once(gateway: ScriptedGateway) -> None:
    """It wakes in the middle of a wait, and the gateway has forgotten it."""
    gateway.script.extend([REGISTERED, ALIVE, GONE])
    run = Run(gateway.port, 5)
    whole, leaps = run.clock.wait, iter([True])

    def wait(seconds: float) -> bool:
        leapt = seconds > 0 and next(leaps, False)
        whole(0.1 if leapt else seconds)
        return leapt

    run.clock.wait = wait  # type: ignore[method-assign]
    run.go()
    assert gateway.paths[:5] == ["register", "keepalive", "keepalive", "register", "keepalive"]
    assert run.clock.waits[:4] == [0, 0.1, 0, 0]
    assert "the clock leapt ahead" in run.lines.getvalue()


def test_gone_right_after_registering_backs_off(gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, GONE] * 20)
    run = Run(gateway.port, 40).go()
    pauses = run.clock.waits[1::2]
    assert all(1 <= pause <= 60 for pause in pauses)
    assert sum(pauses) > 120  # 20 tries at growing distances, no hot loop


@pytest.mark.parametrize("status", [401, 403])
def test_refused_token_is_tried_every_five_minutes(gateway: ScriptedGateway, status: int) -> None:
    gateway.script.extend([(status, {"message": "Invalid token"})] * 12)
    run = Run(gateway.port, 12).go()
    assert run.clock.waits == [300.0] * 12
    assert gateway.paths == ["register"] * 12
    assert run.keeper.standing.state is State.REFUSED
    assert "refuses this machine's token" in run.lines.getvalue()


def test_token_revoked_while_ready_then_given_back(gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, ALIVE, UNAUTHORIZED, UNAUTHORIZED])
    run = Run(gateway.port, 6).go()
    assert run.states == ["pending", "registered", "ready", "refused", "refused", *run.states[-2:]]
    assert run.states[-2:] == ["registered", "ready"]
    assert run.clock.waits[2:4] == [300.0, 300.0]


def test_outage_keeps_trying_within_the_ttl_then_registers(gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, ALIVE, *[BROKEN] * 40])
    run = Run(gateway.port, 42).go()
    lapse = gateway.paths.index("register", 1)
    retries = run.clock.waits[2 : lapse - 1]
    assert len(retries) >= 8  # enough tries within 300 s
    assert all(1 <= pause <= 30 for pause in retries)
    assert all(1 <= pause <= 60 for pause in run.clock.waits[lapse:])
    assert run.keeper.standing.state is State.EXPIRED
    assert "HTTP 500 Internal Server Error" in run.keeper.standing.last_error


def test_connection_refused_recovers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    run = Run(port, 10)
    for _ in range(5):
        run.clock.wait(run.keeper.step())
    assert run.keeper.standing.state is State.PENDING
    assert "cannot reach" in run.keeper.standing.last_error
    server = serve(ScriptedGateway(), port)
    try:
        run.keeper.step()
        run.keeper.step()
        assert run.keeper.standing.state is State.READY
        assert run.keeper.standing.last_error == ""
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "nonsense",
    [
        (200, b"<html>a captive portal</html>"),
        (200, b'{"machine_state": {"status"'),
        (200, b"[]"),
        (200, b"null"),
        (200, b"[" * 100_000),
        (200, b"\xff\xfe"),
        (302, {"message": 7}),
        (200, {"machine_state": "ready"}),
        (200, b"x" * (2 << 20)),
        (400, {"message": "Invalid\r\npayload\x1b[31m " + "x" * 5000}),
    ],
)
def test_nonsense_is_trouble(gateway: ScriptedGateway, nonsense: Any) -> None:
    gateway.script.append(nonsense)
    run = Run(gateway.port, 3).go()
    assert run.states == ["pending", "pending", "registered", "ready"]
    assert "\x1b" not in run.lines.getvalue()
    assert max(len(line) for line in run.lines.getvalue().splitlines()) < 500


@pytest.mark.parametrize("ttl", ["300", None, -1, True, {}, 1e9])
def test_odd_ttl_is_no_trouble(gateway: ScriptedGateway, ttl: Any) -> None:
    gateway.script.append((200, {"machine_state": {"ttl_seconds": ttl}}))
    assert Run(gateway.port, 2).go().states[-1] == "ready"


def test_a_body_that_cannot_be_made_is_survived(gateway: ScriptedGateway) -> None:
    run = Run(gateway.port, 2)
    run.keeper._bodies[Action.REGISTER] = lambda: 1 // 0
    run.go()
    assert "ZeroDivisionError" in run.keeper.standing.last_error
    assert gateway.requests == []


def test_bodies_of_answers_are_never_written(gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, ALIVE, (500, REGISTERED[1]), REGISTERED])
    run = Run(gateway.port, 4).go()
    assert DATABASE_PASSWORD not in run.lines.getvalue() + repr(run.published)
