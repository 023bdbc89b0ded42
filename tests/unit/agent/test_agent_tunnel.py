"""What the agent makes of a tunnel: which way it carries, and when it is to be started anew."""

from __future__ import annotations

import io
import socket
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from agent_scripted import ManualClock

from provisioner.agent import tunnel as module
from provisioner.agent.http import Endpoint
from provisioner.agent.log import Log
from provisioner.agent.tunnel import LOOK_EVERY, Reached, Tunnel, Ways, reached

API = Endpoint("127.0.0.1", 1994)
K3S = Endpoint("127.0.0.1", 6443, True, "an authority")
BACK = Endpoint("127.0.0.1", 16443, True, "an authority")
ANSWERED, SILENT, CLOSED, NOBODY = Reached
MINUTE = 60.0


@dataclass
class Place:
    """A tunnel in a world of its own."""

    asks: Path
    api: Reached = ANSWERED
    k3s: Reached = ANSWERED
    back: Reached = ANSWERED
    through: Endpoint | None = BACK
    clock: ManualClock = field(default_factory=lambda: ManualClock(10**6))
    told: list[dict[str, Any]] = field(default_factory=list)
    said: io.StringIO = field(default_factory=io.StringIO)

    def __post_init__(self) -> None:
        log = Log(stream=self.said)
        self.tunnel = Tunnel(API, K3S, self.through, self.asks, log, self.tell, self.clock)

    def tell(self, kind: str, **data: Any) -> None:
        assert kind == "tunnel"
        self.told.append(data)

    def reached(self, endpoint: Endpoint, path: str) -> Reached:
        known = {API: self.api, K3S: self.k3s, BACK: self.back}
        return known[endpoint]

    def passes(self, seconds: float) -> None:
        """The tunnel is looked at for so long."""
        end = self.clock.monotonic() + seconds
        while self.clock.monotonic() < end:
            self.tunnel.look()
            self.clock.wait(LOOK_EVERY)

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
    monkeypatch.setattr(module, "reached", made.reached)
    return made


def test_a_tunnel_that_carries_is_left_alone(place: Place) -> None:
    place.passes(60 * MINUTE)
    assert place.tunnel.ways == Ways(True, True)
    assert place.told == [{"outward": True, "inward": True}]
    assert not place.asked and place.said.getvalue() == ""


def test_one_that_carries_nothing_inward_is_started_anew_within_half_a_minute(
    place: Place,
) -> None:
    place.passes(MINUTE)
    place.back = CLOSED
    place.passes(10)
    assert place.tunnel.ways == Ways(True, False)
    assert not place.asked
    place.passes(20)
    assert place.asked
    assert "nothing inward for 20 s: it is started anew" in place.said.getvalue()
    place.passes(4 * MINUTE)
    assert not place.asked  # it is given time
    place.passes(2 * MINUTE)
    assert place.asked
    place.back = ANSWERED
    place.passes(30 * MINUTE)
    assert not place.asked
    assert place.told[-1] == {"outward": True, "inward": True}


@pytest.mark.parametrize("k3s", [ANSWERED, NOBODY])
def test_one_that_carries_nothing_at_all_is_started_anew(place: Place, k3s: Reached) -> None:
    place.passes(MINUTE)
    place.api, place.back, place.k3s = SILENT, SILENT, k3s
    place.passes(10)
    assert not place.asked
    place.passes(20)
    assert place.asked and "nothing outward" in place.said.getvalue()


def test_one_that_is_down_is_its_units_to_start(place: Place) -> None:
    place.passes(MINUTE)
    place.api, place.back = NOBODY, NOBODY
    place.passes(60 * MINUTE)
    assert place.tunnel.ways == Ways(False, False)
    assert not place.asked


def test_it_is_not_the_tunnels_fault_that_the_gateway_is_down(place: Place) -> None:
    place.api, place.k3s, place.back = CLOSED, NOBODY, CLOSED
    place.passes(60 * MINUTE)
    assert place.tunnel.ways == Ways(None, None)
    assert not place.asked


def test_a_gateway_is_not_asked_whose_tunnel_is_proven(place: Place) -> None:
    place.api = CLOSED
    place.passes(MINUTE)
    assert place.tunnel.ways == Ways(True, True)


def test_it_is_not_the_tunnels_fault_that_the_k3s_is_down(place: Place) -> None:
    place.k3s, place.back = NOBODY, CLOSED
    place.passes(60 * MINUTE)
    assert place.tunnel.ways == Ways(True, None)
    assert not place.asked


def test_without_a_way_back_there_is_nothing_to_know(place: Place) -> None:
    alone = Place(place.asks, through=None)
    alone.passes(60 * MINUTE)
    assert alone.tunnel.ways == Ways(True, None)
    assert not alone.asked


def test_where_nobody_is_there_to_be_asked_it_is_said(place: Place, tmp_path: Path) -> None:
    alone = Place(tmp_path / "nowhere", through=None)
    place.api = SILENT  # which is what both ask
    alone.passes(MINUTE)
    assert "nothing outward for 20 s; restart it" in alone.said.getvalue()


def test_silence_a_closed_way_and_nobody_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DEADLINE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = Endpoint("127.0.0.1", silent.getsockname()[1])
        assert reached(there, "/") is SILENT
        closing = threading.Thread(target=lambda: [silent.accept()[0].close() for _ in range(2)])
        closing.start()
        assert reached(there, "/") is CLOSED
        closing.join(5)
    assert reached(there, "/") is NOBODY
