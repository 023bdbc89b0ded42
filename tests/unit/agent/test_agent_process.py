"""The zipapp as a process: its conversation, its end, what it leaves and what it shows."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from agent_process import K3S_TOKEN, TOKEN, Agent, free_port, stop
from agent_scripted import (
    ALIVE,
    DATABASE_PASSWORD,
    GONE,
    REGISTERED,
    UNAUTHORIZED,
    ScriptedGateway,
    serve,
)

from provisioner.agent import runtime
from provisioner.agent.log import Log


def test_ready_expired_and_ready_again(agent: Agent, gateway: ScriptedGateway) -> None:
    gateway.script.extend([REGISTERED, ALIVE, GONE])
    process = agent.start("--config", agent.configure(gateway.port, keepalive_interval=1))
    gateway.wait_for(5)
    assert gateway.paths[:5] == ["register", "keepalive", "keepalive", "register", "keepalive"]
    state = agent.wait_for_state("ready")
    assert state["machine_id"] == "e13daa82"
    assert state["pool"] == "gpu"
    assert state["gateway"] == f"127.0.0.1:{gateway.port}"
    assert abs(state["last_keepalive"] - time.time()) < 20
    assert state["pid"] == process.pid
    code, out, _ = agent.finish("status", "--json")
    assert (code, json.loads(out)["state"], json.loads(out)["running"]) == (0, "ready", True)
    code, out, _ = agent.finish("status")
    assert code == 0
    assert "ready since" in out
    _, _, seconds = stop(process)
    assert process.returncode == 0
    assert seconds < 2
    code, out, _ = agent.finish("status")
    assert code == 1
    assert "not running any more" in out


def test_bodies_on_the_wire(agent: Agent, gateway: ScriptedGateway) -> None:
    code, _, err = agent.finish("--once", "--config", agent.configure(gateway.port))
    assert code == 0, err
    register, keepalive = gateway.requests
    assert register.headers["Authorization"] == f"Bearer {TOKEN}"
    assert register.body["token"] == K3S_TOKEN
    assert register.body["hostname"] == "10.199.0.7"
    assert all(isinstance(value, str) for value in register.body.values())
    assert "inference" not in keepalive.body
    assert isinstance(keepalive.body["metrics"]["total_cpu_available"], int)
    assert len(keepalive.raw) < 2048


def test_guide_command_line(agent: Agent, gateway: ScriptedGateway) -> None:
    code, _, err = agent.finish(
        "--token", TOKEN, "--machine-id", "1165a9b6", "--pool-name", "gpu",
        "--gateway-host", "localhost", "--gateway-port", str(gateway.port), "--debug", "--once",
    )  # fmt: skip
    assert code == 0, err
    assert gateway.requests[0].body["machine_id"] == "1165a9b6"
    assert gateway.requests[0].body["provider_name"] == "generic"
    assert "no k3s token" in err


def test_go_agent_command_line(agent: Agent, gateway: ScriptedGateway) -> None:
    code, out, err = agent.finish(
        "-token", TOKEN, "-machine-id=1165a9b6", "-gateway-host", "127.0.0.1", "-gateway-port",
        str(gateway.port), "-hostname", "100.1.2.3", "-k3s-token", K3S_TOKEN, "-once",
        "-keepalive-interval", "60", "-provider-name", "generic", "-tui=false",
    )  # fmt: skip
    assert code == 0, err
    assert gateway.requests[0].body["pool_name"] == "external"
    assert TOKEN not in out + err
    assert agent.finish("-version")[1].startswith("b9agent 0.")


def test_once_that_fails(agent: Agent, gateway: ScriptedGateway) -> None:
    gateway.script.append(UNAUTHORIZED)
    code, _, err = agent.finish("--once", "--config", agent.configure(gateway.port))
    assert code == 1
    assert gateway.paths == ["register"]
    assert "refuses this machine's token: register: HTTP 401 Unauthorized" in err
    assert agent.state()["state"] == "refused"


def test_dry_run_sends_nothing(agent: Agent, gateway: ScriptedGateway) -> None:
    config = agent.configure(gateway.port)
    code, out, err = agent.finish("--dry-run", "--config", config)
    assert code == 0, err
    assert gateway.requests == []
    assert "/api/v1/machine/register" in out
    assert "/api/v1/machine/keepalive" in out
    assert TOKEN not in out + err
    assert K3S_TOKEN not in out + err
    assert not agent.state_file.exists()


def test_gateway_that_comes_up_later(agent: Agent) -> None:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        port = placeholder.getsockname()[1]
    process = agent.start("--config", agent.configure(port))
    agent.wait_for_state("pending")
    late = ScriptedGateway()
    server = serve(late, port)
    try:
        assert agent.wait_for_state("ready")["last_error"] == ""
    finally:
        server.shutdown()
        server.server_close()
    _, err, _ = stop(process, signal.SIGINT)
    assert process.returncode == 0
    assert "cannot reach" in err or "ready" in err


def test_sigterm_ends_a_request_that_hangs(agent: Agent, gateway: ScriptedGateway) -> None:
    gateway.hold = threading.Event()
    process = agent.start("--config", agent.configure(gateway.port))
    gateway.wait_for(1)
    try:
        _, _, seconds = stop(process)
    finally:
        gateway.hold.set()
    assert process.returncode == 0
    assert seconds < 2


def test_killed_and_started_again(agent: Agent, gateway: ScriptedGateway) -> None:
    config = agent.configure(gateway.port)
    process = agent.start("--config", config)
    agent.wait_for_state("ready")
    process.kill()
    process.wait()
    again = agent.start("--config", config)
    gateway.wait_for(4)
    assert gateway.paths == ["register", "keepalive"] * 2
    stop(again)


def test_one_agent_per_machine(agent: Agent, gateway: ScriptedGateway) -> None:
    config = agent.configure(gateway.port)
    agent.start("--config", config)
    agent.wait_for_state("ready")
    code, _, err = agent.finish("--config", config)
    assert code == 1
    assert "another b9agent" in err
    assert len(gateway.requests) == 2


def test_an_agent_of_another_users_is_noticed(
    agent: Agent, gateway: ScriptedGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent.start("--config", agent.configure(gateway.port))
    agent.wait_for_state("ready")
    monkeypatch.setattr(runtime, "SYSTEM_DIRECTORY", agent.state_file.parent)
    own = runtime.Runtime(tmp_path / "own", Log())
    with pytest.raises(runtime.AlreadyRunning, match="another b9agent runs here already: process"):
        own.acquire()
    state = agent.state()
    with subprocess.Popen(["sleep", "60"]) as other:  # it has the number of one that is no more
        agent.processes[0].kill()
        agent.processes[0].wait()
        agent.state_file.write_text(json.dumps({**state, "pid": other.pid}))
        own.acquire()
        other.kill()


def test_systemd_is_told(agent: Agent) -> None:
    """Ready while the gateway is away; watchdog; the state; the end."""
    path = agent.home / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(path))
        channel.settimeout(20)
        process = agent.start(
            "--config", agent.configure(1), NOTIFY_SOCKET=str(path), WATCHDOG_USEC="300000"
        )
        heard: list[str] = []
        while not {"READY=1", "WATCHDOG=1"} <= set(heard) or "cannot reach" not in str(heard):
            heard += channel.recv(4096).decode().splitlines()
        process.send_signal(signal.SIGTERM)
        while "STOPPING=1" not in heard:
            heard += channel.recv(4096).decode().splitlines()
    assert any(line.startswith("STATUS=pending: machine e13daa82 at") for line in heard)
    assert process.wait(10) == 0


def test_journal_lines_have_a_priority(agent: Agent, gateway: ScriptedGateway) -> None:
    _, _, err = agent.finish(
        "--once", "--config", agent.configure(gateway.port), JOURNAL_STREAM="8:1"
    )
    assert all(line.startswith("<") for line in err.splitlines())


def test_no_secret_anywhere(agent: Agent, gateway: ScriptedGateway) -> None:
    echo = (500, {"message": f"Internal error for {TOKEN} and {K3S_TOKEN}"})
    leak = (500, {"config": DATABASE_PASSWORD, "message": "failed"})
    gateway.script.extend([REGISTERED, ALIVE, echo, leak, GONE])
    process = agent.start(
        "--debug", "--config", agent.configure(gateway.port, keepalive_interval=1)
    )
    gateway.wait_for(7, 40)
    agent.wait_for_state("ready")
    arguments = Path(f"/proc/{process.pid}/cmdline").read_text()
    out, err, _ = stop(process)
    shown = arguments + out + err + agent.state_file.read_text()
    assert "Internal error for ********" in err
    for secret in (TOKEN, K3S_TOKEN, DATABASE_PASSWORD):
        assert secret not in shown
    assert agent.state_file.stat().st_mode & 0o777 == 0o644


def test_init_then_run(agent: Agent, gateway: ScriptedGateway) -> None:
    flags = ["--gateway", f"127.0.0.1:{gateway.port}", "--token", TOKEN, "--pool", "external"]
    code, out, err = agent.finish("init", *flags)
    assert code == 0, err
    config = agent.home / ".b9agent" / "config.yaml"
    assert config.stat().st_mode & 0o777 == 0o600
    assert TOKEN not in out + err
    machine_id = out.split()[1].rstrip(":")
    assert agent.finish("--once")[0] == 0
    assert gateway.requests[0].body["machine_id"] == machine_id
    code, _, err = agent.finish("init", *flags, "--machine-id", "1165a9b6")
    assert code == 2
    assert "-y replaces it" in err
    assert agent.finish("init", *flags, "--machine-id", "1165a9b6", "-y")[0] == 0
    assert "1165a9b6" in config.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stauts"], "unknown command"),
        (["--machine"], "did you mean --machine-id?"),
        (["--config", "/nonexistent.yaml"], "cannot read /nonexistent.yaml"),
        ([], "machine.token (--token) is missing"),
        (["--once", "extra"], "unexpected argument"),
        (["init", "--pool", "x"], "init needs --gateway"),
        (["init", "--gateway", "h:0", "--token", TOKEN], "--gateway-port"),
        (["status", "x"], "no arguments"),
    ],
)
def test_bad_usage(agent: Agent, arguments: list[str], message: str) -> None:
    code, out, err = agent.finish(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert TOKEN not in err


def test_status_without_an_agent(agent: Agent) -> None:
    code, out, _ = agent.finish("status", "--json")
    assert code == 1
    assert json.loads(out)["schema"] == 1


def test_memory_threads_and_handles(agent: Agent, gateway: ScriptedGateway) -> None:
    """At rest it is small."""
    gateway.script.extend([REGISTERED, *[ALIVE] * 2])
    control = {"control": {"port": free_port()}}
    path = agent.configure(gateway.port, keepalive_interval=1, **control)
    process = agent.start("--config", path)
    gateway.wait_for(3)
    status = Path(f"/proc/{process.pid}/status").read_text()
    resident = int(status.split("VmRSS:")[1].split()[0])
    threads = int(status.split("Threads:")[1].split()[0])
    handles = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
    stop(process)
    assert resident < 22 * 1024
    assert threads == 4  # the main one, the keeper, the tunnel's, and one that waits for callers
    assert handles < 12


def test_odd_settings_show_in_the_status(agent: Agent, gateway: ScriptedGateway) -> None:
    path = agent.configure(gateway.port, keepalive_intervall=1)
    path.chmod(0o644)
    process = agent.start("--config", path)
    (problem,) = agent.wait_for_state("ready")["problems"]
    assert problem == (
        f"{path}: unknown key keepalive_intervall; did you mean keepalive_interval?; "
        "others may read its tokens (mode 0644): chmod 600"
    )
    assert f"problem         {path}: unknown key" in agent.finish("status")[1]
    path.chmod(0o600)
    agent.configure(gateway.port)
    process.send_signal(signal.SIGHUP)
    gateway.wait_for(4)
    assert agent.wait_for_state("ready")["problems"] == []
    _, err, _ = stop(process)
    assert err.count("unknown key") == 1


def test_settings_are_read_anew_on_sighup(agent: Agent, gateway: ScriptedGateway) -> None:
    path = agent.configure(gateway.port)
    process = agent.start("--config", path)
    gateway.wait_for(2)
    agent.wait_for_state("ready")
    agent.configure(gateway.port, pool="other")
    process.send_signal(signal.SIGHUP)
    gateway.wait_for(4)
    assert gateway.paths == ["register", "keepalive"] * 2
    assert [request.body["pool_name"] for request in gateway.requests[::2]] == ["gpu", "other"]
    path.write_text("pool: [")
    process.send_signal(signal.SIGHUP)
    gateway.wait_for(6)
    assert gateway.requests[4].body["pool_name"] == "other"
    (problem,) = agent.wait_for_state("ready")["problems"]
    assert problem.startswith("new settings: ") and "not YAML" in problem
    _, err, seconds = stop(process)
    assert (process.returncode, seconds < 2) == (0, True)
    assert "the settings were read anew" in err
    assert "not YAML" in err and "the settings stay as they were" in err
