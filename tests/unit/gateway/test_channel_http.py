"""HTTP over a paramiko transport to a real sshd."""

from __future__ import annotations

import getpass
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest
import requests

from provisioner.gateway.channel_http import session_over
from provisioner.gateway.client import GatewayClient
from provisioner.gateway.errors import GatewayError
from provisioner.lab.reference_gateway import Gateway

ADMIN = "admin-token-of-the-reference"
SSHD = shutil.which("sshd") or "/usr/sbin/sshd"

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="needs OpenSSH's sshd")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """A port and a key to log in with."""
    folder = tmp_path_factory.mktemp("sshd")
    for name in ("host", "user"):
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(command, check=True)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    config = folder / "sshd_config"
    config.write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/user.pub\nStrictModes no\nUsePAM no\n"
    )
    Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    child = subprocess.Popen([SSHD, "-D", "-e", "-f", str(config)], stderr=subprocess.PIPE)
    assert child.stderr and b"listening" in child.stderr.readline()
    yield port, folder / "user"
    child.terminate()
    child.communicate()


@pytest.fixture
def transport(sshd: tuple[int, Path]) -> Iterator[paramiko.Transport]:
    port, key = sshd
    with paramiko.Transport(("127.0.0.1", port)) as opened:
        opened.connect(
            username=getpass.getuser(), pkey=paramiko.Ed25519Key.from_private_key_file(str(key))
        )
        yield opened


def literal(gateway: Gateway) -> str:
    """Its address by name: it is the far end that looks it up."""
    return gateway.url.replace("127.0.0.1", "localhost")


def test_the_admin_api_through_the_connection(
    transport: paramiko.Transport, gateway: Gateway
) -> None:
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    client.health()
    created = client.create_machine("gpu")
    assert [machine.id for machine in client.list_machines("gpu")] == [created.id]
    client.delete_machine(created.id, "gpu")
    with pytest.raises(GatewayError, match="'tpu' is not configured"):
        client.create_machine("tpu")


def test_one_channel_serves_many_calls(
    transport: paramiko.Transport, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[object] = []
    open_channel = transport.open_channel

    def counted(*arguments: object, **more: object) -> paramiko.Channel:
        opened.append(arguments)
        return open_channel(*arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(transport, "open_channel", counted)
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    for _ in range(10):
        client.health()
    assert len(opened) == 1


def test_calls_at_the_same_time(transport: paramiko.Transport, gateway: Gateway) -> None:
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    threads = [threading.Thread(target=client.create_machine, args=("cpu",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert len(client.list_machines("cpu")) == 8


def test_a_gateway_that_restarts_is_reached_again(
    transport: paramiko.Transport, gateway: Gateway
) -> None:
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    client.health()
    address = gateway.server.server_address
    gateway.stop()
    again = Gateway(gateway.settings, ("127.0.0.1", int(address[1])))
    again.start()
    try:
        client.health()
    finally:
        again.stop()


def test_nobody_listens_there(transport: paramiko.Transport) -> None:
    client = GatewayClient("http://localhost:1", ADMIN, session_over(transport))
    with pytest.raises(GatewayError, match="does not answer at http://localhost:1") as failure:
        client.health()
    assert "through the SSH connection" in str(failure.value)
    assert "Connect failed" in str(failure.value)
    assert "Connection(" not in str(failure.value)


def test_a_closed_connection(transport: paramiko.Transport, gateway: Gateway) -> None:
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    client.health()
    transport.close()
    with pytest.raises(GatewayError) as failure:
        client.health()
    assert failure.value.code == "unreachable"


def test_a_gateway_that_never_answers(transport: paramiko.Transport) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        with pytest.raises(requests.RequestException):
            session_over(transport, timeout=0.5).get(url)
        assert time.monotonic() - began < 5


def test_a_large_answer(transport: paramiko.Transport, gateway: Gateway) -> None:
    client = GatewayClient(literal(gateway), ADMIN, session_over(transport))
    for _ in range(200):
        gateway.api.create(ADMIN, {}, {"poolName": "cpu"})
    assert len(client.list_machines("cpu")) == 200


def test_what_is_not_plain_http_is_refused(transport: paramiko.Transport) -> None:
    with pytest.raises(requests.exceptions.InvalidSchema):
        session_over(transport).get("https://localhost/")
