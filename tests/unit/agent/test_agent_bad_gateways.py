"""What calls itself a gateway and is none: a clear line, a state in `status`, and on it goes."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from agent_process import Agent, stop
from agent_scripted import ScriptedGateway, serve

from provisioner.agent.gateway import Gateway, Verdict
from provisioner.agent.http import Endpoint
from provisioner.agent.states import Action, Answer

Play = Callable[[socket.socket], None]
OK = b"HTTP/1.1 200 OK\r\n"
MIB = b"x" * (1 << 20)


def says(data: bytes) -> Play:
    return lambda connection: connection.sendall(data)


def hundred_megabytes(connection: socket.socket) -> None:
    connection.sendall(OK + b"\r\n")
    for _ in range(100):
        connection.sendall(MIB)


@pytest.fixture
def playing() -> Iterator[Callable[[Play], int]]:
    """Starts a server that plays to whoever comes; its port."""
    listeners: list[socket.socket] = []

    def start(play: Play) -> int:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def run() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    try:
                        connection.recv(65536)
                        play(connection)
                    except OSError:
                        continue  # the agent had enough, as it should

        threading.Thread(target=run, daemon=True).start()
        return int(listener.getsockname()[1])

    yield start
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("play", "error"),
    [
        (
            says(OK + b"\r\n<html>The hotel</html>"),
            "200, but not an answer of a gateway",
        ),
        (
            says(OK + b'Content-Length: 30\r\n\r\n{"machine_state": {"sta'),
            "the connection was closed in the middle of the answer",
        ),
        (says(OK + b'\r\n{"machine_state": {"sta'), "200, but not an answer of a gateway"),
        (hundred_megabytes, "the answer is larger than 1048576 bytes"),
        (
            says(b"HTTP/1.1 302 Found\r\nLocation: http://other/\r\nContent-Length: 0\r\n\r\n"),
            "HTTP 302 sends elsewhere, which no gateway does",
        ),
        (says(b"SSH-2.0-OpenSSH_9.2\r\n"), "the connection was closed in the middle"),
        (says(b""), "the connection was closed in the middle"),
    ],
    ids=["html", "truncated", "cut JSON", "100 MB", "redirect", "ssh", "nothing"],
)
def test_it_is_told_and_tried_again(
    agent: Agent, playing: Callable[[Play], int], play: Play, error: str
) -> None:
    told: list[float] = []

    def noted(connection: socket.socket) -> None:
        told.append(time.monotonic())
        play(connection)

    process = agent.start("--config", agent.configure(playing(noted), keepalive_interval=1))
    state = until(lambda: len(told) >= 2 and agent.state())
    assert state["state"] == "pending"
    assert f"register: {error}" in state["last_error"]
    resident = Path(f"/proc/{process.pid}/status").read_text().split("VmRSS:")[1].split()[0]
    assert int(resident) < 24 * 1024
    code, out, _ = agent.finish("status")
    assert code == 1
    assert f"last error      register: {error}" in out
    _, err, seconds = stop(process)
    assert (process.returncode, seconds < 2) == (0, True)
    assert err.count(error) == 1  # the same again is not told again
    assert "Traceback" not in err


def until(probe: Callable[[], Any]) -> Any:
    give_up = time.monotonic() + 20
    while not (found := probe()):
        assert time.monotonic() < give_up, "waited in vain"
        threading.Event().wait(0.02)
    return found


@pytest.mark.parametrize("play", [lambda c: c.recv(1), lambda c: (c.sendall(OK), c.recv(1))])
def test_one_that_says_nothing_is_given_up_in_time(
    playing: Callable[[Play], int], monkeypatch: pytest.MonkeyPatch, play: Play
) -> None:
    """Not in an hour: within 30 s for a registration, 15 s for a keepalive, here 0.3 s."""
    monkeypatch.setattr("provisioner.agent.gateway.TIMEOUTS", dict.fromkeys(Action, 0.3))
    gateway = Gateway(Endpoint("127.0.0.1", playing(play)), "token")
    for action in Action:
        began = time.monotonic()
        verdict = gateway.send(action, {})
        assert time.monotonic() - began < 2
        assert verdict == Verdict(Answer.TROUBLE, verdict.reason)
        assert "within 0.3 s" in verdict.reason


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("IP:127.0.0.1", ""),
        ("DNS:somebody.else", "certificate is not valid for '127.0.0.1'"),
    ],
)
def test_a_certificate(agent: Agent, tmp_path: Path, name: str, error: str) -> None:
    """For this gateway or for someone else, of an authority that the system trusts."""
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2"
    more = f"-subj /CN=gateway -addext subjectAltName={name} -keyout key -out certificate"
    subprocess.run([*command.split(), *more.split()], cwd=tmp_path, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "certificate", tmp_path / "key")
    scripted = ScriptedGateway()
    server = serve(scripted)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    try:
        place = {"host": "127.0.0.1", "port": scripted.port, "tls": "true"}
        path = agent.configure(scripted.port, gateway=place)
        code, _, err = agent.finish(
            "--once", "--config", path, SSL_CERT_FILE=str(tmp_path / "certificate")
        )
    finally:
        server.shutdown()
        server.server_close()
    assert code == (1 if error else 0), err
    assert error in err
    assert len(scripted.requests) == (0 if error else 2)  # the token was shown to nobody else
    assert agent.state()["state"] == ("pending" if error else "ready")
    assert error in agent.state()["last_error"]


def test_where_no_file_can_be_written_it_goes_on(agent: Agent, gateway: ScriptedGateway) -> None:
    """As on a full disk: a limit of 0 on what it may write."""
    path = agent.configure(gateway.port, keepalive_interval=1)
    (agent.home / "run").mkdir()
    shell = agent.home / "limited"
    shell.write_text('ulimit -f 0; exec "$@"\n')
    agent.wrapper = ["sh", str(shell)]
    process = agent.start("--config", path)
    gateway.wait_for(4)
    _, err, _ = stop(process)
    assert process.returncode == 0
    assert gateway.paths[:4] == ["register", "keepalive", "keepalive", "keepalive"]
    assert err.count("state file: cannot be written: File too large") == 1
