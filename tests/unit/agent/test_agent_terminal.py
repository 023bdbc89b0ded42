"""`b9agent` on a terminal: the zipapp as a process, with nothing but Python beside it."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import TOKEN, Agent, free_port
from agent_scripted import ScriptedGateway
from terminal_process import PATIENCE, Terminal

from provisioner.agent import unpack

CONTROL_TOKEN = "control-token-of-sixteen-and-more"


class Screen:
    """Starts the zipapp on terminals. It finds no library but what it brings along (-S)."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.port = free_port()
        self.terminals: list[Terminal] = []
        runtime = agent.home / "runtime"
        runtime.mkdir(mode=0o700)
        self.environment = {**agent.environment, "XDG_RUNTIME_DIR": str(runtime)}

    def configure(self, gateway: ScriptedGateway, **control: object) -> Path:
        return self.agent.configure(gateway.port, control={"port": self.port, **control})

    def start(self, *words: str | Path, python: str = sys.executable) -> Terminal:
        argv = [python, "-I", "-S", str(self.agent.zipapp), *map(str, words)]
        terminal = Terminal(argv, self.environment, self.agent.home)
        self.terminals.append(terminal)
        return terminal

    @property
    def listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def screen(agent: Agent, monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    made = Screen(agent)
    yield made
    for terminal in made.terminals:
        if terminal.process.poll() is None:
            terminal.process.kill()
        terminal.process.wait()


def until(probe: Callable[[], object], what: str) -> None:
    give_up = time.monotonic() + PATIENCE
    while not probe():
        assert time.monotonic() < give_up, what
        time.sleep(0.05)


def test_it_attaches_to_the_agent_that_runs(screen: Screen, gateway: ScriptedGateway) -> None:
    path = screen.configure(gateway, token=CONTROL_TOKEN)
    running = screen.agent.start("run", "--config", path)
    screen.agent.wait_for_state("ready")
    terminal = screen.start("--config", path)
    terminal.wait_for("READY", "Worker pods", "Inference", "the machine is ready", "Quit")
    terminal.press("q")
    assert terminal.end() == 0
    until(lambda: terminal.is_sane, "the terminal is as before")
    assert running.poll() is None and screen.listens
    assert CONTROL_TOKEN not in terminal.raw and TOKEN not in terminal.raw
    assert len(gateway.requests) == 2  # of the one agent


def test_it_runs_an_agent_where_none_does(screen: Screen, gateway: ScriptedGateway) -> None:
    terminal = screen.start("--config", screen.configure(gateway))
    terminal.wait_for("READY", "the machine is ready")
    assert gateway.paths == ["register", "keepalive"] and screen.listens
    terminal.press("\x03")
    assert terminal.end() == 0
    assert not screen.listens
    until(lambda: terminal.is_sane, "the terminal is as before")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_the_agent_that_it_runs_ends_with_it(
    screen: Screen, gateway: ScriptedGateway, number: int
) -> None:
    terminal = screen.start("--config", screen.configure(gateway))
    terminal.wait_for("READY")
    terminal.process.send_signal(number)
    assert terminal.end() == (-9 if number == signal.SIGKILL else 0)
    until(lambda: not screen.listens, "the agent has ended")
    if number != signal.SIGKILL:
        until(lambda: terminal.is_sane, "the terminal is as before")


def test_an_agent_that_can_t_run_says_why(screen: Screen, gateway: ScriptedGateway) -> None:
    path = screen.configure(gateway)
    terminal = screen.start("--config", path, "--cpu", "8")
    assert terminal.end() == 2
    terminal.wait_for("machine.cpu (--cpu)")
    assert "\x1b[?1049h" not in terminal.raw and "Traceback" not in terminal.text


def test_without_a_control_api_it_says_so_and_writes_log_lines(
    screen: Screen, gateway: ScriptedGateway
) -> None:
    terminal = screen.start("--config", screen.agent.configure(gateway.port))
    terminal.wait_for("the control API is off (control.port: 0)", "the machine is ready")
    assert "\x1b[?1049h" not in terminal.raw
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0


@pytest.mark.parametrize("words", [["--no-tui"], ["--tui=false"], ["run"]])
def test_log_lines_are_had_for_the_asking(
    screen: Screen, gateway: ScriptedGateway, words: list[str]
) -> None:
    terminal = screen.start(*words, "--config", screen.configure(gateway))
    terminal.wait_for("info    the machine is ready")
    assert "\x1b[?1049h" not in terminal.raw
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 0


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.12", "3.13"])
def test_on_other_pythons(screen: Screen, gateway: ScriptedGateway, version: str) -> None:
    """Those that are here; the oldest one is that of many a host."""
    pythons = [Path(found) for found in (shutil.which(f"python{version}"),) if found]
    pythons += sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python{version}"))
    if not pythons:
        pytest.skip(f"there is no Python {version}")
    path = screen.configure(gateway)
    terminal = screen.start("--config", path, python=str(pythons[-1]))
    terminal.wait_for("READY", "Worker pods")
    terminal.press("q")
    assert terminal.end() == 0


def test_without_colours(screen: Screen, gateway: ScriptedGateway) -> None:
    """Textual's way: shades of grey."""
    terminal = screen.start("--no-color", "--config", screen.configure(gateway))
    terminal.wait_for("READY")
    terminal.press("q")
    assert terminal.end() == 0
    shades = [each.split(";")[2:5] for each in terminal.raw.split("\x1b[") if each[:5] == "38;2;"]
    assert all(len({part.split("m")[0] for part in shade[:3]}) == 1 for shade in shades)


def test_the_second_start_unpacks_nothing(screen: Screen, gateway: ScriptedGateway) -> None:
    path = screen.configure(gateway)
    home = Path(screen.environment["XDG_RUNTIME_DIR"]) / unpack.NAME
    found = []
    for _ in range(2):
        terminal = screen.start("--config", path)
        terminal.wait_for("READY")
        terminal.press("q")
        assert terminal.end() == 0
        found.append({each.name: each.stat().st_mtime_ns for each in home.iterdir()})
    assert found[0] == found[1] and len(found[0]) == 1
    assert home.stat().st_mode & 0o777 == 0o700
    assert list(home.glob("*/textual/__pycache__/app.*.pyc"))


def test_the_running_agent_loads_none_of_it(agent: Agent, gateway: ScriptedGateway) -> None:
    argv = [sys.executable, "-X", "importtime", "-I", str(agent.zipapp), "--once", "--config"]
    done = subprocess.run(
        [*argv, str(agent.configure(gateway.port))],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=agent.environment,
    )
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "provisioner.agent.service" in loaded
    ours = {f"provisioner.agent.{name}" for name in ("terminal", "unpack", "tui")}
    assert not ours & loaded
    assert not [name for name in loaded if name.startswith(("rich", "textual", "asyncio"))]
