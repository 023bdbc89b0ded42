"""GatewayClient against the reference gateway."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import requests

from provisioner.gateway.client import GatewayClient
from provisioner.gateway.errors import GatewayError
from provisioner.lab.reference_gateway import Gateway
from provisioner.secrets import mask

ADMIN = "admin-token-of-the-reference"


@pytest.fixture
def client(gateway: Gateway) -> GatewayClient:
    return GatewayClient(gateway.url, ADMIN)


@contextmanager
def failure(code: str) -> Iterator[None]:
    """Expects a GatewayError with this code."""
    with pytest.raises(GatewayError) as raised:
        yield
    assert raised.value.code == code


def register(gateway: Gateway, machine_id: str, token: str) -> None:
    """Make the machine ready, as its agent would."""
    headers = {"Authorization": f"Bearer {token}"}
    ids = {"machine_id": machine_id, "provider_name": "generic", "pool_name": "gpu"}
    sizes = {"cpu": "8000m", "memory": "16Gi", "gpu_count": "2", "hostname": "127.0.0.1"}
    url = f"{gateway.url}/api/v1/machine"
    keepalive = {**ids, "agent_version": "0.1", "metrics": {"free_gpu_count": 2}}
    for path, body in (("register", {**ids, **sizes, "token": "k"}), ("keepalive", keepalive)):
        requests.post(f"{url}/{path}", json=body, headers=headers, timeout=5).raise_for_status()


def test_health(client: GatewayClient) -> None:
    client.health()


def test_a_machine_from_its_creation_to_its_end(client: GatewayClient, gateway: Gateway) -> None:
    created = client.create_machine("gpu")
    assert created.token and len(created.token.reveal()) == 88
    assert (created.pool, created.status, created.gpu) == ("gpu", "pending", "H100")
    register(gateway, created.id, created.token.reveal())
    (shown,) = client.list_machines("gpu")
    assert (shown.id, shown.status, shown.cpu, shown.memory) == (created.id, "ready", 8000, 16384)
    assert (shown.gpu_count, shown.agent_version, shown.token) == (2, "0.1", None)
    assert shown.created > 0 and shown.last_keepalive > 0
    assert shown.metrics["freeGpuCount"] == 2
    client.delete_machine(created.id, "gpu")
    client.delete_machine(created.id, "gpu")
    assert client.list_machines("gpu") == []


def test_a_token_is_masked_and_not_in_a_repr(client: GatewayClient) -> None:
    created = client.create_machine("gpu")
    assert created.token
    token = created.token.reveal()
    assert token not in repr(created)
    assert token not in mask(f"token {token}")


def test_limit_is_kept_here(client: GatewayClient) -> None:
    for _ in range(3):
        client.create_machine("cpu")
    assert len(client.list_machines("cpu", limit=2)) == 2


def test_pools(client: GatewayClient, gateway: Gateway) -> None:
    with failure("pools_unready"):
        client.pools()
    gateway.api.store.staffed = ["gpu", "cpu"]
    assert [(pool.name, pool.gpu) for pool in client.pools()] == [
        ("cpu", ""),
        ("gpu", "H100"),
        ("own", ""),
    ]


def test_an_unknown_pool_is_told_with_the_known_ones(
    client: GatewayClient, gateway: Gateway
) -> None:
    for call in (client.create_machine, client.list_machines):
        with failure("bad_pool"):
            call("tpu")
    with failure("bad_pool"):
        client.delete_machine("0", "tpu")
    gateway.api.store.staffed = ["gpu", "cpu"]
    with pytest.raises(GatewayError, match="'tpu' is not configured at the gateway; pools: cpu"):
        client.create_machine("tpu")


def test_a_delete_in_a_local_pool_is_never_asked(client: GatewayClient) -> None:
    with failure("local_pool"):  # the reference runs in this process, which it would end
        client.delete_machine("0", "own")


@pytest.mark.parametrize("call", ["pools", "create_machine", "list_machines", "delete_machine"])
class TestTokens:
    def ask(self, client: GatewayClient, call: str) -> None:
        arguments = {"pools": (), "delete_machine": ("0", "gpu")}.get(call, ("gpu",))
        getattr(client, call)(*arguments)

    def test_wrong(self, gateway: Gateway, call: str) -> None:
        with failure("bad_admin_token"):
            self.ask(GatewayClient(gateway.url, "wrong"), call)

    def test_of_a_machine(self, gateway: Gateway, client: GatewayClient, call: str) -> None:
        token = client.create_machine("cpu").token
        assert token
        with failure("not_admin"):
            self.ask(GatewayClient(gateway.url, token), call)


def test_a_netrc_does_not_replace_the_token(
    client: GatewayClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    assert client.list_machines("gpu") == []


def test_nobody_there() -> None:
    with pytest.raises(GatewayError, match=r"does not answer at http://127\.0\.0\.1:1: .*refused"):
        GatewayClient("http://127.0.0.1:1", ADMIN).health()


class SomeOtherServer(BaseHTTPRequestHandler):
    """A web server that is no gateway: a page, or a redirect that would lead the token astray."""

    def do_GET(self) -> None:
        moved = self.path.endswith("/pools")
        self.send_response(302 if moved else 200)
        if moved:
            self.send_header("Location", "http://127.0.0.1:1/")
        self.send_header("Content-Length", "6")
        self.end_headers()
        self.wfile.write(b"<html>")

    def log_message(self, format: str, *args: object) -> None:
        return None


@pytest.fixture
def other_server() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), SomeOtherServer) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_somebody_else_there(other_server: str) -> None:
    client = GatewayClient(other_server, ADMIN)
    for call in (client.health, client.pools):
        with failure("not_a_gateway"):
            call()


def test_an_unwell_gateway(client: GatewayClient, gateway: Gateway, tmp_path: Path) -> None:
    state = tmp_path / "gateway.json"
    state.unlink(missing_ok=True)
    state.mkdir()
    with failure("unhealthy"):
        client.health()
