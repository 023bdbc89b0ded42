"""The client of the control API, and who looks at an agent again and again."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from scripted_agent import INFERENCE, PODS, STATUS, ScriptedAgent

from provisioner.agent.http import Endpoint
from provisioner.agent.tui import sight
from provisioner.agent.tui.client import LOG_BYTES, Client, Event, Trouble
from provisioner.agent.tui.sight import Sight, Watch, Way

PATIENCE = 10.0


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks follow each other at once."""
    monkeypatch.setattr(sight, "PERIOD", 0.02)
    monkeypatch.setattr(sight, "CALM_PERIOD", 0.02)
    monkeypatch.setattr(sight, "FIRST_PAUSE", 0.02)


class Watched:
    """A watch whose sights and events can be awaited."""

    def __init__(self, open: Any, detailed: bool = True) -> None:
        self.sights: queue.Queue[Sight] = queue.Queue()
        self.events: queue.Queue[Event] = queue.Queue()
        self.watch = Watch("w1", open, self.sights.put, self.events.put, detailed)

    def until(self, **wanted: Any) -> Sight:
        """The first sight with these values."""
        while True:
            seen = self.sights.get(timeout=PATIENCE)
            if wanted.items() <= seen._asdict().items():
                return seen


@contextmanager
def watching(open: Any, detailed: bool = True) -> Iterator[Watched]:
    watched = Watched(open, detailed)
    watched.watch.start()
    try:
        yield watched
    finally:
        watched.watch.close()


def test_what_an_agent_tells(agent: ScriptedAgent) -> None:
    client = Client(agent.endpoint)
    assert client.status() == STATUS and client.inference() == INFERENCE
    assert client.pods() == PODS
    assert client.pod_log("worker-gpu-1-x") == "hello from the pod\n"
    client.start_inference()
    assert agent.asked[-1] == "POST /inference/start"


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, {"error": "wants the bearer token"}), "wants the bearer token"),
        ((500, b"<html>"), "answers with status 500"),
        ((200, b"no json"), "is not JSON"),
        ((200, [1]), "is not an object"),
        ((200, b"x" * (LOG_BYTES + 1)), "larger than"),
    ],
)
def test_what_can_t_be_understood(agent: ScriptedAgent, answer: tuple[int, Any], said: str) -> None:
    agent.answers["/status"] = answer
    with pytest.raises(Trouble, match=said):
        Client(agent.endpoint).status()


def test_it_sees_all_there_is(agent: ScriptedAgent) -> None:
    agent.events.put(("log", {"at": 5.0, "text": "one"}))
    with watching(lambda: Way(Client(agent.endpoint))) as watched:
        seen = watched.until(trouble="", pods=PODS)
        assert (seen.status, seen.inference, seen.reached) == (STATUS, INFERENCE, True)
        assert watched.events.get(timeout=PATIENCE) == Event(1, "log", {"at": 5.0, "text": "one"})


def test_a_stream_that_is_cut_goes_on_where_it_was(agent: ScriptedAgent) -> None:
    for event in (("log", {"at": 5.0}), None, ("state", {"at": 6.0})):
        agent.events.put(event)
    with watching(lambda: Way(Client(agent.endpoint))) as watched:
        heard = [watched.events.get(timeout=PATIENCE).number for _ in range(2)]
    assert heard == [1, 2] and agent.last_ids == ["0", "1"]
    assert [event.number for event in watched.watch.events] == [1, 2]


def test_details_are_asked_for_where_they_are_looked_at(agent: ScriptedAgent) -> None:
    with watching(lambda: Way(Client(agent.endpoint)), detailed=False) as watched:
        watched.until(status=STATUS)
        watched.until(status=STATUS)
        assert not {"GET /pods", "GET /events"} & set(agent.asked)
        watched.watch.detail(True)
        watched.until(pods=PODS)


def test_why_the_pods_can_t_be_seen_is_told_beside_the_rest(agent: ScriptedAgent) -> None:
    agent.answers["/pods"] = (503, {"error": "no k3s"})
    with watching(lambda: Way(Client(agent.endpoint))) as watched:
        assert watched.until(pods_trouble="no k3s").status == STATUS


def test_an_agent_that_stops_and_comes_back(agent: ScriptedAgent) -> None:
    """What was last seen stays in view, with why there is nothing newer."""
    with watching(lambda: Way(Client(agent.endpoint))) as watched:
        watched.until(pods=PODS)
        agent.answers["/status"] = (503, {"error": "not now"})
        seen = watched.until(trouble="not now")
        assert (seen.status, seen.pods, seen.reached) == (STATUS, PODS, True)
        agent.answers["/status"] = (200, STATUS)
        watched.until(trouble="")


def test_a_way_that_is_dead_is_made_anew(agent: ScriptedAgent) -> None:
    made: list[str] = []
    carries = False

    def open() -> Way:
        if not made:
            made.append("none")
            raise Trouble("nothing answers")
        made.append("opened")
        place = agent.endpoint if carries else Endpoint("127.0.0.1", 1)
        return Way(Client(place), lambda: made.append("closed"), lambda: carries)

    with watching(open) as watched:
        assert not watched.until(trouble="nothing answers").reached
        seen = watched.sights.get(timeout=PATIENCE)
        assert "cannot reach" in seen.trouble and not seen.reached
        carries = True
        assert watched.until(trouble="").reached
    assert made[:3] == ["none", "opened", "closed"] and made[3] == "opened"


def test_what_is_asked_meanwhile(agent: ScriptedAgent) -> None:
    with watching(lambda: Way(Client(agent.endpoint))) as watched:
        with pytest.raises(Trouble, match=r"not reached yet|only root"):
            watched.watch.do(Client.stop_inference)
        watched.until(trouble="")
        with pytest.raises(Trouble, match="only root may stop"):
            watched.watch.do(Client.stop_inference)
        assert "hello" in watched.watch.do(lambda client: client.pod_log("worker-gpu-1-x"))


def test_one_that_is_calm_looks_as_often_as_it_is_told(agent: ScriptedAgent) -> None:
    looks: queue.Queue[Sight] = queue.Queue()
    never = 3600.0
    way = Way(Client(agent.endpoint))
    watch = Watch("w1", lambda: way, looks.put, lambda event: None, detailed=False, calm=never)
    watch.start()
    try:
        assert looks.get(timeout=PATIENCE).reached
        with pytest.raises(queue.Empty):
            looks.get(timeout=0.2)
    finally:
        watch.close()
