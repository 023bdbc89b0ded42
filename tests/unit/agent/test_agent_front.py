"""The control API of the agent as a process, and a server of models that lives by it."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import requests
from agent_process import Agent, free_port, stop
from agent_scripted import ALIVE, REGISTERED, ScriptedGateway

TOKEN = "control-token-of-sixteen-and-more"
PATIENCE = 20.0
Found = TypeVar("Found")

# Says of itself that it is Ollama, and tells what it was started with.
STAND_IN = """#!{python}
import http.server, json, os, sys
host, _, port = os.environ["OLLAMA_HOST"].rpartition(":")
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({{"version": "0.9.6", "models": []}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
open(os.environ["HOME"] + "/started", "w").write(f"{{os.getpid()}} {{' '.join(sys.argv[1:])}}")
http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
"""


def awaited(probe: Callable[[], Found]) -> Found:
    """The first true answer; connections that fail meanwhile are no answer."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            if found := probe():
                return found
        except requests.RequestException:
            pass
        assert time.monotonic() < give_up, "waited in vain"
        time.sleep(0.05)


def ask(port: int, path: str, method: str = "GET", token: str = "") -> requests.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return requests.request(method, f"http://127.0.0.1:{port}{path}", headers=headers, timeout=10)


def state(port: int) -> Any:
    return ask(port, "/inference/status").json()["status"]


def test_it_is_asked_how_it_fares(agent: Agent, gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, *[ALIVE] * 3])
    port = free_port()
    process = agent.start(
        "--config", agent.configure(gateway.port, keepalive_interval=1, control={"port": port})
    )
    gateway.wait_for(4)
    status = awaited(lambda: (got := ask(port, "/status").json())["keepalives"] >= 2 and got)
    assert (status["state"], status["pid"]) == ("ready", process.pid)
    assert status["metrics"]["total_memory_available"] > 0
    assert "b9agent_keepalives_total" in ask(port, "/metrics").text
    resident = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    assert int(resident) < 30 * 1024
    _, err, seconds = stop(process)
    assert (process.returncode, seconds < 2) == (0, True)
    assert f"the control API is at 127.0.0.1:{port}" in err


def test_its_settings_are_followed(agent: Agent, gateway: ScriptedGateway) -> None:
    first, second = free_port(), free_port()
    process = agent.start("--config", agent.configure(gateway.port, control={"port": first}))
    agent.wait_for_state("ready")
    assert awaited(lambda: ask(first, "/status").ok)
    agent.configure(gateway.port, control={"port": second, "token": TOKEN})
    process.send_signal(signal.SIGHUP)
    assert awaited(lambda: ask(second, "/health").ok)
    assert ask(second, "/status").status_code == 401
    assert ask(second, "/status", token=TOKEN).ok
    assert not is_listening(first)
    _, err, _ = stop(process)
    assert TOKEN not in err


def is_listening(port: int) -> bool:
    try:
        ask(port, "/health")
    except requests.ConnectionError:
        return False
    return True


def test_a_port_that_is_taken_is_no_end(agent: Agent, gateway: ScriptedGateway) -> None:
    control = {"control": {"port": gateway.port}}
    process = agent.start("--config", agent.configure(gateway.port, **control))
    agent.wait_for_state("ready")
    _, err, _ = stop(process)
    assert "no control API: cannot listen at 127.0.0.1" in err
    assert "Address already in use" in err


def test_others_are_not_served_without_a_token(agent: Agent, gateway: ScriptedGateway) -> None:
    control = {"host": "0.0.0.0", "port": free_port()}
    code, _, err = agent.finish("--config", agent.configure(gateway.port, control=control))
    assert code == 2
    assert "control.host (--control-host): at 0.0.0.0 anybody could ask" in err
    code, _, err = agent.finish(
        "--config", agent.configure(gateway.port, control={**control, "token": "short"})
    )
    assert code == 2
    assert "control.token (--control-token): its value is not a token of 16" in err


def test_where_there_is_no_unit_the_server_of_models_is_a_child(
    agent: Agent, gateway: ScriptedGateway, tmp_path: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "ollama"
    program.write_text(STAND_IN.format(python=sys.executable))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    port, models = free_port(), free_port()
    path = agent.configure(gateway.port, control={"port": port}, inference={"port": models})
    process = agent.start("--config", path, PATH=f"{programs}:{os.environ['PATH']}")
    assert awaited(lambda: state(port) == "stopped")
    assert ask(port, "/inference/start", "POST").json()["status"] == "starting"
    assert awaited(lambda: state(port) == "running")
    number, words = (tmp_path / "started").read_text().split(maxsplit=1)
    assert words == "serve"
    assert ask(port, "/inference/stop", "POST").status_code == 202
    assert awaited(lambda: state(port) == "stopped")
    assert not is_alive(int(number))
    ask(port, "/inference/start", "POST")
    assert awaited(lambda: state(port) == "running")
    again = int((tmp_path / "started").read_text().split()[0])
    os.kill(again, signal.SIGKILL)
    assert awaited(lambda: state(port) == "failed")
    ask(port, "/inference/start", "POST")
    assert awaited(lambda: state(port) == "running")
    last = int((tmp_path / "started").read_text().split()[0])
    stop(process)
    assert not is_alive(last)


def is_alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_is_not_installed_can_t_be_started(agent: Agent, gateway: ScriptedGateway) -> None:
    port = free_port()
    agent.start("--config", agent.configure(gateway.port, control={"port": port}), PATH="/nowhere")
    (answer,) = awaited(lambda: [ask(port, "/inference/start", "POST")])
    assert answer.status_code == 503
    assert answer.json()["error"] == "ollama is not installed, and has no systemd unit"
