"""What the agent makes of a tunnel: which way it carries, and when it is to be started anew."""

from __future__ import annotations

import io
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from provisioner.agent import tunnel as module
from provisioner.agent.gateway import Gateway, Verdict
from provisioner.agent.http import Endpoint
from provisioner.agent.log import Log
from provisioner.agent.states import Action, Answer
from provisioner.agent.tunnel import Proven, Tunnel, Ways

K3S = Endpoint("127.0.0.1", 6443, True, "an authority")
BACK = Endpoint("127.0.0.1", 16443, True, "an authority")


@dataclass
class Place:
    """A tunnel in a world of its own."""

    asks: Path
    alive: set[int] = field(default_factory=lambda: {K3S.port, BACK.port})
    now: float = 1000.0
    told: list[dict[str, Any]] = field(default_factory=list)
    said: io.StringIO = field(default_factory=io.StringIO)
    through: Endpoint | None = BACK

    def __post_init__(self) -> None:
        log = Log(stream=self.said)
        self.tunnel = Tunnel(K3S, self.through, self.asks, log, self.tell, lambda: self.now, 60)

    def tell(self, kind: str, **data: Any) -> None:
        assert kind == "tunnel"
        self.told.append(data)

    def minutes(self, count: int, outward: bool | None = True) -> None:
        for _ in range(count):
            self.tunnel.look(outward)
            self.now += 60

    @property
    def asked(self) -> bool:
        """Whether a new start was asked for since the last look at this."""
        ask = self.asks / "restart-b9-tunnel"
        found = ask.exists()
        ask.unlink(missing_ok=True)
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    made = Place(tmp_path)
    monkeypatch.setattr(module, "answers", lambda endpoint: endpoint.port in made.alive)
    return made


def test_a_tunnel_that_carries_is_left_alone(place: Place) -> None:
    place.minutes(60)
    assert place.tunnel.ways == Ways(True, True)
    assert place.told == [{"outward": True, "inward": True}]
    assert not place.asked and place.said.getvalue() == ""


def test_one_that_carries_nothing_inward_is_started_anew(place: Place) -> None:
    place.minutes(1)
    place.alive.discard(BACK.port)
    place.minutes(1)
    assert place.tunnel.ways == Ways(True, False)
    assert not place.asked
    place.minutes(1)
    assert place.asked
    assert "nothing inward for 120 s: it is started anew" in place.said.getvalue()
    place.minutes(4)
    assert not place.asked  # it is given time
    place.minutes(1)
    assert place.asked
    place.alive.add(BACK.port)
    place.minutes(30)
    assert not place.asked
    assert place.told[-1] == {"outward": True, "inward": True}


def test_one_that_carries_nothing_outward_is_started_anew(place: Place) -> None:
    place.minutes(1)
    place.minutes(1, outward=False)
    assert not place.asked
    place.minutes(1, outward=False)
    assert place.asked and "nothing outward" in place.said.getvalue()


def test_it_is_not_the_tunnels_fault_that_the_gateway_is_down(place: Place) -> None:
    place.minutes(60, outward=None)
    assert place.tunnel.ways == Ways(None, None)
    assert not place.asked


def test_it_is_not_the_tunnels_fault_that_the_k3s_is_down(place: Place) -> None:
    place.alive.clear()
    place.minutes(60)
    assert place.tunnel.ways == Ways(True, None)
    assert not place.asked


def test_without_a_way_back_there_is_nothing_to_know(tmp_path: Path) -> None:
    alone = Place(tmp_path, through=None)
    alone.minutes(60)
    assert alone.tunnel.ways == Ways(True, None)
    assert not alone.asked


def test_where_nobody_is_there_to_be_asked_it_is_said(tmp_path: Path) -> None:
    alone = Place(tmp_path / "nowhere", through=None)
    alone.minutes(3, outward=False)
    assert "nothing outward for 120 s; restart it" in alone.said.getvalue()


@pytest.mark.parametrize(
    ("verdict", "ways"),
    [
        (Verdict(Answer.OK), Ways(True, True)),
        (Verdict(Answer.REFUSED, "keepalive: HTTP 401"), Ways(True, True)),
        (Verdict(Answer.TROUBLE, "no answer", heard=False), Ways(False, None)),
        (Verdict(Answer.TROUBLE, "refused", heard=None), Ways(None, None)),
    ],
)
def test_keepalives_are_the_proof(place: Place, verdict: Verdict, ways: Ways) -> None:
    class Sender:
        def send(self, action: Action, body: dict[str, Any]) -> Verdict:
            return verdict

    proven = Proven(Sender(), place.tunnel)
    assert proven.send(Action.REGISTER, {}) is verdict
    assert place.tunnel.ways == Ways(None, None)
    assert proven.send(Action.KEEPALIVE, {}) is verdict
    assert place.tunnel.ways == ways


def test_silence_is_told_from_a_closed_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.agent.gateway.TIMEOUTS", {Action.KEEPALIVE: 0.2})
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        gateway = Gateway(Endpoint("127.0.0.1", port), "token")
        assert gateway.send(Action.KEEPALIVE, {}).heard is False
        closing = threading.Thread(target=lambda: [silent.accept()[0].close() for _ in range(2)])
        closing.start()
        assert gateway.send(Action.KEEPALIVE, {}).heard is None
        closing.join(5)
    assert gateway.send(Action.KEEPALIVE, {}).heard is None
