"""The screens, driven by Textual's own pilot, at the size of a window and of a small one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
from scripted_agent import STATUS, ScriptedAgent, serving
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Footer, RichLog

from provisioner.agent.tui import app as tui
from provisioner.agent.tui import podlog, sight
from provisioner.agent.tui.app import AgentApp
from provisioner.agent.tui.client import Client, Trouble
from provisioner.agent.tui.panes import Head, Inference, Log, Machine, Pods
from provisioner.agent.tui.podlog import PodLog
from provisioner.agent.tui.sight import Way
from provisioner.dashboard.app import Dashboard, Fleet
from provisioner.dashboard.reach import Reach
from provisioner.inventory import Host

PATIENCE = 10.0
SIZES = [(120, 40), (60, 20)]
sizes = pytest.mark.parametrize("size", SIZES, ids=["large", "small"])
Drive = Callable[[Pilot[None]], Awaitable[None]]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (sight, podlog):
        monkeypatch.setattr(module, "PERIOD", 0.4)
    monkeypatch.setattr(sight, "CALM_PERIOD", 0.4)
    monkeypatch.setattr(sight, "FIRST_PAUSE", 0.2)
    monkeypatch.setattr(tui, "TICK", 0.4)


def driven(app: App[None], size: tuple[int, int], drive: Drive) -> App[None]:
    """The app after `drive`."""

    async def run() -> None:
        async with app.run_test(size=size, notifications=True) as pilot:
            await drive(pilot)

    asyncio.run(run())
    return app


def shown(app: App[None]) -> str:
    """The text on the screen, line by line."""
    strips = app.screen._compositor.render_strips()
    return "\n".join(strip.text.rstrip() for strip in strips)


async def until(pilot: Pilot[None], *texts: str) -> str:
    """Wait until the screen shows all of these."""
    give_up = time.monotonic() + PATIENCE
    while not all(text in shown(pilot.app) for text in texts):
        assert time.monotonic() < give_up, f"{texts} not in\n{shown(pilot.app)}"
        await pilot.pause(0.02)
    return shown(pilot.app)


async def logged(pilot: Pilot[None], text: str) -> None:
    """Wait until the log's pane, which may be out of view, has this text."""
    give_up = time.monotonic() + PATIENCE
    while not any(text in line.text for line in pilot.app.query_one(Log).lines):
        assert time.monotonic() < give_up, f"{text} is not logged"
        await pilot.pause(0.02)


def agent_app(agent: ScriptedAgent) -> AgentApp:
    return AgentApp(lambda: Way(Client(agent.endpoint)))


@sizes
def test_each_pane_shows_its_part(agent: ScriptedAgent, size: tuple[int, int]) -> None:
    agent.events.put(("log", {"at": 5.0, "level": "info", "text": "the machine is ready"}))

    async def drive(pilot: Pilot[None]) -> None:
        text = await until(
            pilot, "READY", "12.5%", "worker-gpu-1-x", "Running", "gemma3:1b", "machine is ready",
            "Worker pods", "Inference", "Log", "Quit", "Start inference",
        )  # fmt: skip
        assert "e13daa82" in text
        for pane in (Head, Pods, Inference, Log, Footer):
            region = pilot.app.query_one(pane).region
            assert region.height >= 1 and region.bottom <= size[1], pane
            assert region.right <= size[0], pane

    driven(agent_app(agent), size, drive)


@sizes
def test_enter_on_a_pod_shows_its_log_and_escape_leads_back(
    agent: ScriptedAgent, size: tuple[int, int]
) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "worker-gpu-2-y")
        await pilot.press("enter")
        await until(pilot, "Log of worker-gpu-1-x", "hello from the pod", "Back")
        assert "GET /pods/worker-gpu-1-x/log?tail=1000" in agent.asked
        assert "Start inference" not in shown(pilot.app)
        agent.answers["/pods/worker-gpu-1-x/log"] = (200, b"[red]more\x1b[2J\n")
        await until(pilot, "[red]more")
        agent.answers["/pods/worker-gpu-1-x/log"] = (404, {"error": "the pod is gone"})
        assert "[red]more" in await until(pilot, "the pod is gone")
        await pilot.press("escape")
        await until(pilot, "Worker pods")
        await pilot.press("down", "enter")
        await until(pilot, "Log of worker-gpu-2-y", "there is no /pods/worker-gpu-2-y/log")

    driven(agent_app(agent), size, drive)


def test_the_cursor_stays_on_its_pod(agent: ScriptedAgent) -> None:
    pods = agent.answers["/pods"][1]["pods"]

    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "worker-gpu-2-y")
        await pilot.press("down")
        assert pilot.app.query_one(Pods).chosen == "worker-gpu-2-y"
        new = {**pods[0], "name": "worker-gpu-0-new", "status": "[b]Pending"}
        agent.answers["/pods"] = (200, {"pods": [new, *pods]})
        await until(pilot, "worker-gpu-0-new", "[b]Pending")
        assert pilot.app.query_one(Pods).chosen == "worker-gpu-2-y"
        agent.answers["/pods"] = (200, {"pods": []})
        await until(pilot, "no jobs yet")
        await pilot.press("enter")
        assert not isinstance(pilot.app.screen, PodLog)

    driven(agent_app(agent), (100, 30), drive)


def test_the_server_of_models_is_started_and_stopped(agent: ScriptedAgent) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "READY")
        await pilot.press("s")
        await until(pilot, "is to be started")
        assert "POST /inference/start" in agent.asked
        await pilot.press("x")
        await until(pilot, "only root may stop")

    driven(agent_app(agent), (100, 30), drive)


def test_trouble_is_in_view_over_what_was_last_seen(agent: ScriptedAgent) -> None:
    agent.answers["/status"][1].update(last_error="no [route]", problems=["disk: full"])

    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "READY", "no [route]", "disk: full")
        agent.answers["/status"] = (500, {"error": "an [error] of the agent's"})
        await until(pilot, "READY", "disk: full", "an [error] of the agent's")

    driven(agent_app(agent), (100, 30), drive)


@pytest.mark.parametrize("key", ["q", "ctrl+c"])
def test_it_quits(agent: ScriptedAgent, key: str) -> None:
    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "READY")
        await pilot.press(key)
        await pilot.pause()

    assert driven(agent_app(agent), (100, 30), drive).return_code == 0


def test_a_crash_shows_no_values(agent: ScriptedAgent) -> None:
    """Of Textual's own report the values of variables are a part."""

    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "READY")
        secret = "a-token-in-a-variable"
        pilot.app._handle_exception(ValueError(f"{len(secret)} characters"))

    app = agent_app(agent)
    with pytest.raises(ValueError, match="21 characters"):
        driven(app, (100, 30), drive)
    said = "".join(str(each) for each in app._exit_renderables)
    assert "a-token-in-a-variable" not in said


class ScriptedReach(Reach):
    """Knows two workers, which are scripted; others can't be reached."""

    def __init__(self, **agents: ScriptedAgent) -> None:
        self.agents = agents

    def way(self, host: Host) -> Way:
        if host.name not in self.agents:
            raise Trouble(f"nothing answers at {host.address} (check the [cable])")
        return Way(Client(self.agents[host.name].endpoint))


def fleet(reach: ScriptedReach) -> Dashboard:
    return Dashboard(
        [Host(name, f"192.0.2.{n}") for n, name in enumerate(("w1", "w2", "w3"))], reach
    )


@sizes
def test_the_fleet_and_the_chosen_worker(agent: ScriptedAgent, size: tuple[int, int]) -> None:
    other = ScriptedAgent({"/status": (200, {**STATUS, "state": "expired", "machine_id": "aa"})})
    other.events.put(("log", {"at": 5.0, "text": "of the other"}))

    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "3 workers", "w1", "ready", "w2", "expired", "w3", "unreachable")
        await until(pilot, "w1 · e13daa82", "worker-gpu-1-x")
        await pilot.press("down")
        await until(pilot, "w2 · aa", "EXPIRED")
        await logged(pilot, "of the other")
        await pilot.press("down")
        await until(pilot, "nothing answers at 192.0.2.2 (check the [cable])")
        assert not pilot.app.query_one(Log).lines
        await pilot.press("up")
        await until(pilot, "w2 · aa")
        await logged(pilot, "of the other")
        await pilot.press("enter", "enter")
        await until(pilot, "Log of worker-gpu-1-x", "hello from the pod")
        await pilot.press("escape")
        await until(pilot, "3 workers")

    with serving(other):
        driven(fleet(ScriptedReach(w1=agent, w2=other)), size, drive)


def test_a_worker_that_comes_back_is_seen(agent: ScriptedAgent) -> None:
    reach = ScriptedReach()

    async def drive(pilot: Pilot[None]) -> None:
        await until(pilot, "unreachable")
        reach.agents["w2"] = agent
        await until(pilot, "READY" if pilot.app.query_one(Fleet).chosen == "w2" else "ready")
        assert pilot.app.query_one(Machine)

    driven(fleet(reach), (140, 40), drive)


def test_the_log_is_bounded() -> None:
    assert issubclass(Log, RichLog) and Log().max_lines == 1000
