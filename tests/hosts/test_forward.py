"""`b9prov tunnel` and `b9prov kubeconfig`: ways to a worker, which are gone after."""

from __future__ import annotations

import re
import signal
import socket
import ssl
import stat
import subprocess
import sys
import urllib.request
from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Driver, wait_until

PROGRAM = str(Path(sys.executable).with_name("b9prov"))


def b9prov(driver: Driver, *words: str) -> subprocess.CompletedProcess[str]:
    argv = [PROGRAM, *words]
    return subprocess.run(
        argv, env=driver.env, cwd=driver.home, capture_output=True, text=True, timeout=60
    )


def nodes(config: dict[str, Any]) -> int:
    """The status of a list of nodes, asked for as kubectl does, whom it talks to verified."""
    cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
    authority = b64decode(cluster["certificate-authority-data"]).decode()
    context = ssl.create_default_context(cadata=authority)
    host, port = cluster["server"].removeprefix("https://").split(":")
    with (
        socket.create_connection((host, int(port)), 5) as plain,
        context.wrap_socket(plain, server_hostname=cluster["tls-server-name"]) as asked,
    ):
        head = f"GET /api/v1/nodes HTTP/1.0\r\nAuthorization: Bearer {user['token']}\r\n\r\n"
        asked.sendall(head.encode())
        return int(asked.recv(100).split()[1])


def test_a_kubeconfig_is_written_that_verifies_and_is_private(ready: Driver) -> None:
    done = b9prov(ready, "kubeconfig", str(ready.inventory()), "w1")
    assert done.returncode == 0, done.stderr
    path = ready.home / "w1.kubeconfig"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "warning" not in done.stderr
    assert nodes(yaml.safe_load(path.read_text())) == 200
    shown = b9prov(ready, "kubeconfig", str(ready.inventory()), "w1", "-o", "-").stdout
    assert yaml.safe_load(shown) == yaml.safe_load(path.read_text())


def test_a_command_finds_the_way_in_its_environment_and_has_the_last_word(ready: Driver) -> None:
    inventory = str(ready.inventory())
    asked = 'curl -s "$OLLAMA_HOST/api/version"; exit 7'
    done = b9prov(ready, "tunnel", inventory, "w1", "ollama", "--", "sh", "-c", asked)
    assert (done.returncode, "version" in done.stdout) == (7, True), done.stderr
    done = b9prov(ready, "tunnel", inventory, "w1", "k3s", "--", "sh", "-c", 'cat "$KUBECONFIG"')
    config = yaml.safe_load(done.stdout)
    assert config["clusters"][0]["cluster"]["tls-server-name"] == "localhost"


def test_it_stays_until_ctrl_c_and_leaves_nothing(ready: Driver) -> None:
    argv = [PROGRAM, "tunnel", str(ready.inventory()), "w1", "agent"]
    with subprocess.Popen(
        argv, env=ready.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        first = process.stdout.readline()
        match = re.match(r"(http://127\.0\.0\.1:(\d+)), until Ctrl-C", first)
        assert match, first + process.stderr.read()
        with urllib.request.urlopen(f"{match[1]}/health", timeout=5) as answer:
            assert answer.status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0
        assert process.stderr.read() == "closed\n"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", int(match[2])), 2)


def test_a_lost_connection_is_told(ready: Driver) -> None:
    worker = ready.lab.host("w1")
    argv = [PROGRAM, "tunnel", str(ready.inventory()), "w1", "agent"]
    with subprocess.Popen(
        argv, env=ready.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout and process.stderr
        assert "until Ctrl-C" in process.stdout.readline()
        wait_until(lambda: worker.exec(["pkill", "-KILL", "-f", "sshd: admin"]), 5, "killed")
        assert process.wait(10) == 1
        assert "the connection to w1 was lost" in process.stderr.read()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("w9",), "no host or group is named 'w9'"),
        (("all",), "'all' is 3 hosts; name one"),
        (("w1", "grafana"), "'grafana' is neither k3s, agent or ollama nor a port"),
        (("w1", "agent", "--local-port", "{taken}"), "port {taken} is taken on this machine"),
        (("w1", "agent", "--", "no-such-program"), "can't run no-such-program"),
    ],
)
def test_what_can_not_be_is_one_clear_error(
    ready: Driver, words: tuple[str, ...], said: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        given = [word.format(taken=taken) for word in words]
        done = b9prov(ready, "tunnel", str(ready.inventory()), *given)
    assert done.returncode == 2
    assert said.format(taken=taken) in done.stderr
    assert "Traceback" not in done.stderr
