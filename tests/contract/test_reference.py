"""Facts that need a gateway of one's own: expiry, empty, crash, restart, delays, and the dial."""

from __future__ import annotations

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from provisioner.lab import reference_gateway
from provisioner.lab.reference_gateway import Pool

from .calls import ADMIN, POOL, Caller, make

Start = Callable[..., Caller]


def until(what: Callable[[], Any], seconds: float = 10) -> Any:
    """The first true answer of `what`; fails when none comes in time."""
    deadline = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.05)
    return answer


class TestExpiry:
    def test_pending_machines_expire_and_their_token_does_not(self, start: Start) -> None:
        admin = start(pending_ttl=1)
        machine = make(admin)
        assert machine.shown(admin)
        until(lambda: not machine.shown(admin))
        assert machine.register()[0] == 200

    def test_registered_and_ready_machines_expire(self, start: Start) -> None:
        admin = start(ttl=1)
        machine = make(admin)
        machine.register()
        machine.keepalive()
        until(lambda: not machine.shown(admin))
        status, body = machine.keepalive()
        assert status == 500 and body["message"].endswith("machine not found")
        assert machine.register()[0] == 200 and machine.keepalive()[0] == 200

    def test_each_keepalive_renews(self, start: Start) -> None:
        admin = start(ttl=1.5)
        machine = make(admin)
        machine.register()
        end = time.monotonic() + 3
        while time.monotonic() < end:
            assert machine.keepalive()[0] == 200
            time.sleep(0.1)


class TestAuthorize:
    def test_the_first_call_makes_the_cluster_admin(self, start: Start) -> None:
        nobody = start(admin_token=None).like(None)
        assert nobody("GET", "/gateway/machines")[0] == 401
        status, body = nobody("POST", "/gateway/auth/authorize", {})
        assert status == 200 and body["ok"] and body["workspaceId"]
        assert make(nobody.like(body["newToken"])).id
        assert nobody("POST", "/gateway/auth/authorize", {})[1]["errorMsg"] == "Invalid token"


class TestDelays:
    def test_registration_takes_its_time_also_when_it_fails(self, start: Start) -> None:
        machine = make(start(register_delay=0.4, tailnet="example.ts.net"))
        for changes, status in (({}, 200), ({"cpu": "0.5"}, 500)):
            began = time.monotonic()
            assert machine.register(**changes)[0] == status
            assert time.monotonic() - began >= 0.4

    def test_without_a_direct_host_there_is_no_config(self, start: Start) -> None:
        machine = make(start(tailnet="example.ts.net"))
        assert machine.register()[1]["config"] is None
        answer = machine.call("GET", "/machine/config")
        assert answer == (500, {"message": "Unable to create remote config"})

    def test_without_a_direct_host_the_hostname_gets_a_domain(self, start: Start) -> None:
        machine = make(start(tailnet="example.ts.net"))
        machine.register(hostname="w1")
        machine.keepalive()
        path = f"/machine/list?pool_name={POOL}&provider_name=generic"
        assert machine.call("GET", path)[1][0]["state"]["hostname"] == "w1.example.ts.net"

    def test_with_a_direct_host_the_answer_holds_secrets(self, start: Start) -> None:
        machine = make(start())
        assert machine.register()[1]["config"]["database"]["postgres"]["password"]
        assert machine.call("GET", "/machine/config")[1]["config"]


class TestLocalPool:
    def test_does_not_list(self, start: Start) -> None:
        admin = start(pools={"own": Pool("own", local=True)})
        status, body = admin("GET", "/gateway/machines?poolName=own")
        assert (status, body["errMsg"]) == (200, "Local pools don't currently track machines")


class Process:
    """The reference as the lab runs it: a program of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.token_file = folder / "admin"

    def start(self) -> Caller:
        program = [sys.executable, reference_gateway.__file__, "--port", "0"]
        files = ["--state", str(self.folder / "state"), "--admin-token-file", str(self.token_file)]
        pools = ["--pool", f"{POOL}:H100:nvidia", "--local-pool", "own"]
        self.child = subprocess.Popen([*program, *files, *pools], stderr=subprocess.PIPE, text=True)
        assert self.child.stderr
        match = re.search(r"http://\S+", self.child.stderr.readline())
        assert match
        return Caller(match[0], self.token_file.read_text().strip())

    def stop(self) -> str:
        """End it as systemd does; what it logged."""
        self.child.send_signal(signal.SIGTERM)
        _out, log = self.child.communicate(timeout=10)
        assert self.child.returncode == 0
        return log


@pytest.fixture
def process(tmp_path: Path) -> Iterator[Process]:
    started = Process(tmp_path)
    yield started
    if started.child.poll() is None:
        started.child.kill()
        started.child.communicate()


class TestProcess:
    def test_a_restart_loses_nothing(self, process: Process) -> None:
        admin = process.start()
        machine = make(admin)
        machine.register()
        machine.keepalive()
        process.stop()
        again = process.start()
        assert machine.shown(again)["status"] == "ready"
        machine.call = again.like(machine.call.token)
        assert machine.keepalive()[0] == 200

    def test_files_are_private_and_the_log_has_no_tokens(self, process: Process) -> None:
        admin = process.start()
        machine = make(admin)
        machine.register(hostname="127.0.0.1")
        machine.keepalive()
        machine.keepalive(metrics=...)
        admin.like("wrong")("GET", "/gateway/machines")
        log = process.stop()
        for path in (process.token_file, process.folder / "state"):
            assert path.stat().st_mode & 0o777 == 0o600
        for secret in (admin.token, machine.call.token, "k3s-bearer-token", "wrong"):
            assert secret and secret not in log
        assert "/machine/keepalive 500" in log

    def test_a_delete_in_a_local_pool_crashes_it(self, process: Process) -> None:
        admin = process.start()
        with pytest.raises(requests.ConnectionError):
            admin("DELETE", "/gateway/machines/0?poolName=own")
        assert process.child.wait(10) == 2

    def test_health_tells_when_the_state_can_not_be_kept(self, process: Process) -> None:
        admin = process.start()
        (process.folder / "state").unlink(missing_ok=True)
        (process.folder / "state").mkdir()
        status, body = admin.like(None)("GET", "/health")
        assert status == 500 and body["status"] == "not ok" and body["error"]
        (process.folder / "state").rmdir()


class RecordingApiServer:
    """Stands in for a worker's Kubernetes API: keeps Jobs and what was asked of it."""

    def __init__(self, address: str, folder: Path) -> None:
        self.address = address
        self.jobs: list[dict[str, Any]] = []
        self.asked: list[tuple[str, str, str]] = []
        self.refuse = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                job = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if not outer.refuse:
                    outer.jobs.append(job)
                self.answer(outer.refuse or 201, {"message": "refused"} if outer.refuse else job)

            def do_GET(self) -> None:
                self.answer(200, {"items": outer.jobs})

            def answer(self, status: int, body: Any) -> None:
                outer.asked.append((self.command, self.path, self.headers["Authorization"]))
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, format: str, *args: Any) -> None:
                return None

        self.server = ThreadingHTTPServer((address, 6443), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self_signed(folder))
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def self_signed(folder: Path) -> Path:
    """A certificate that nobody would trust, as k3s has it for an address it doesn't know."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "k3s")])
    now = datetime.now(timezone.utc)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain)
    path = folder / "pair.pem"
    path.write_bytes(private + certificate.public_bytes(encoding))
    return path


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[RecordingApiServer]:
    address = f"127.{os.getpid() >> 8 & 255}.{os.getpid() & 255}.7"
    server = RecordingApiServer(address, tmp_path)
    yield server
    server.close()


class TestDial:
    def reference(self, admin: Caller, machine_id: str) -> dict[str, Any]:
        """What the reference tells of its dial; a path of its own, not the real API's."""
        headers = {"Authorization": f"Bearer {admin.token}"}
        answer = admin.session.get(f"{admin.url}/reference/machines", headers=headers, timeout=20)
        assert answer.status_code == 200 and "token" not in answer.text.replace(ADMIN, "token")
        found = answer.json()["machines"]
        return next((dict(each) for each in found if each["machine_id"] == machine_id), {})

    def test_a_ready_machine_gets_one_job(self, start: Start, worker: RecordingApiServer) -> None:
        admin = start(job_interval=0.05, list_interval=0.3)
        machine = make(admin)
        machine.register(hostname=worker.address, gpu_count="2")
        time.sleep(0.3)
        assert not worker.asked  # registered is not ready
        machine.keepalive()
        told = until(lambda: self.reference(admin, machine.id).get("job"))
        until(lambda: [each for each in worker.asked if each[0] == "GET"])
        assert len(worker.jobs) == 1
        job = worker.jobs[0]
        assert job["metadata"]["name"] == told
        assert re.fullmatch(rf"worker-{POOL}-[0-9a-f]{{8}}", told)
        labels = job["metadata"]["labels"]
        assert labels["run.beam.cloud/role"] == "worker"
        assert labels["run.beam.cloud/worker-pool-name"] == POOL
        pod = job["spec"]["template"]["spec"]
        container = pod["containers"][0]
        assert pod["hostNetwork"] and container["securityContext"]["privileged"]
        assert pod["dnsPolicy"] == "ClusterFirstWithHostNet"
        assert container["resources"]["limits"] == {"nvidia.com/gpu": "2"}
        assert {v["hostPath"]["path"] for v in pod["volumes"] if "hostPath" in v} == {
            "/images",
            "/var/log/worker",
        }
        assert job["spec"]["ttlSecondsAfterFinished"] == 30
        jobs = "/apis/batch/v1/namespaces/default/jobs"
        methods = {(method, urlsplit(path).path, auth) for method, path, auth in worker.asked}
        assert methods == {(m, jobs, "Bearer k3s-bearer-token") for m in ("GET", "POST")}
        listed = next(path for method, path, _auth in worker.asked if method == "GET")
        selector = f"run.beam.cloud/role=worker,run.beam.cloud/worker-pool-name={POOL}"
        assert parse_qs(urlsplit(listed).query) == {"labelSelector": [selector]}

    def test_a_refused_token_is_retried_and_told(
        self, start: Start, worker: RecordingApiServer
    ) -> None:
        worker.refuse = 401
        admin = start(job_interval=0.05)
        machine = make(admin)
        machine.register(hostname=worker.address)
        machine.keepalive()
        until(lambda: len(worker.asked) > 2)
        told = self.reference(admin, machine.id)
        assert told["job"] is None and "401" in told["dial"]["error"]
        worker.refuse = 0
        assert until(lambda: self.reference(admin, machine.id)["job"])
        assert self.reference(admin, machine.id)["dial"]["ok"]

    def test_a_job_that_is_gone_is_made_anew(
        self, start: Start, worker: RecordingApiServer
    ) -> None:
        admin = start(job_interval=0.05, list_interval=0.2)
        machine = make(admin)
        machine.register(hostname=worker.address)
        machine.keepalive()
        first = until(lambda: self.reference(admin, machine.id)["job"])
        worker.jobs.clear()
        until(lambda: worker.jobs and worker.jobs[0]["metadata"]["name"] != first)

    def test_no_gpus_in_a_gpu_pool_is_never_dialled(
        self, start: Start, worker: RecordingApiServer
    ) -> None:
        admin = start(job_interval=0.02)
        idle, busy = make(admin), make(admin)
        idle.register(hostname=worker.address, gpu_count="0")
        idle.keepalive()
        busy.register(hostname=worker.address)
        busy.keepalive()
        until(lambda: self.reference(admin, busy.id)["job"])
        assert self.reference(admin, idle.id)["dial"] is None

    def test_a_machine_without_a_hostname_is_dialled_in_vain(self, start: Start) -> None:
        admin = start(job_interval=0.05)
        machine = make(admin)
        machine.keepalive()
        dial = until(lambda: self.reference(admin, machine.id)["dial"])
        assert "without a hostname" in dial["error"]

    def test_pools_answer_once_each_had_a_worker(
        self, start: Start, worker: RecordingApiServer
    ) -> None:
        admin = start(job_interval=0.05, pools={POOL: Pool(POOL, "H100")})
        machine = make(admin)
        message = f"worker pool state not found: {POOL}"
        assert admin("GET", "/gateway/pools") == (500, {"code": 2, "message": message})
        machine.register(hostname=worker.address)
        machine.keepalive()
        until(lambda: self.reference(admin, machine.id)["job"])
        status, body = admin("GET", "/gateway/pools")
        assert status == 200 and body["pools"][0]["name"] == POOL
        assert body["pools"][0]["state"]["readyMachines"] == "1"

    def test_only_the_administrator_is_told(self, start: Start) -> None:
        admin = start()
        answer = admin.session.get(f"{admin.url}/reference/machines", timeout=20)
        assert answer.status_code == 401
