"""Request bodies have the gateway's names and types; facts about the machine are read right."""

from __future__ import annotations

import io
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from agent_scripted import ScriptedGateway, serve

from provisioner.agent import http
from provisioner.agent.bodies import Bodies
from provisioner.agent.devices import Tool, nvml
from provisioner.agent.devices.device import Device, Told
from provisioner.agent.devices.nvidia import Nvidia
from provisioner.agent.gateway import PATHS
from provisioner.agent.http import Endpoint
from provisioner.agent.inference.ollama import Ollama
from provisioner.agent.inference.vllm import VLLM
from provisioner.agent.log import Log
from provisioner.agent.machine import detect, own_address
from provisioner.agent.metrics import Metrics, inference
from provisioner.agent.settings import Settings, Source, resolve
from provisioner.agent.states import Action

LOG = Log(stream=io.StringIO())
MEMINFO = "MemTotal:       16384000 kB\nMemFree:  1 kB\nMemAvailable:    4096000 kB\nHugePages: 0\n"


@pytest.fixture
def closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as placeholder:
        return int(placeholder.getsockname()[1])


def made(port: int, **values: str) -> Settings:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    given = {"token": "machine-token-12345", "machine-id": "e13daa82", "pool-name": "gpu"}
    return resolve([Source("test", {**given, "inference-port": str(port), **named})])


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither its nvidia-smi nor its NVML."""
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin")
    monkeypatch.setattr(nvml, "ask", lambda tool: Told([], "no NVML here", missing=True))


def gpus(tmp_path: Path, count: int = 0, script: str = "") -> Nvidia:
    """As the driver shows them, with a stand-in for nvidia-smi where there is a script for it."""
    for number in range(count):
        (tmp_path / f"proc/driver/nvidia/gpus/0000:0{number}:00.0").mkdir(parents=True)
    if script:
        path = tmp_path / "bin/nvidia-smi"
        path.parent.mkdir()
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return Nvidia(tmp_path, Tool(), LOG)


def test_registration(tmp_path: Path, closed_port: int) -> None:
    values = {
        "hostname": "10.199.0.7", "private_ip": "192.168.1.5", "cpu": "8000m",
        "memory": "16Gi", "gpu_count": "1", "k3s_token": "k3s-token-67890",
    }  # fmt: skip
    found = gpus(tmp_path)
    body = Bodies(made(closed_port, **values), found, Metrics(found, LOG)).registration()
    assert body == {
        "token": "k3s-token-67890",
        "machine_id": "e13daa82",
        "hostname": "10.199.0.7",
        "provider_name": "generic",
        "pool_name": "gpu",
        "cpu": "8000m",
        "memory": "16Gi",
        "gpu_count": "1",
        "private_ip": "192.168.1.5",
    }


def test_keepalive_types(tmp_path: Path, closed_port: int) -> None:
    found = gpus(tmp_path)
    body = Bodies(made(closed_port, memory="16Gi"), found, Metrics(found, LOG)).keepalive()
    metrics = body.pop("metrics")
    assert body == {
        "machine_id": "e13daa82",
        "provider_name": "generic",
        "pool_name": "gpu",
        "agent_version": "0.1.0",
    }
    kinds = {name: type(value) for name, value in metrics.items()}
    assert kinds == {
        "cpu_utilization_pct": float,
        "memory_utilization_pct": float,
        "total_cpu_available": int,
        "total_memory_available": int,
        "total_disk_space_bytes": int,
        "total_disk_free_bytes": int,
        "free_gpu_count": int,
        "worker_count": int,
        "container_count": int,
        "cache_usage_pct": float,
    }
    assert metrics["total_memory_available"] == 16384
    assert 0 <= metrics["memory_utilization_pct"] <= 100
    assert 0 < metrics["total_disk_free_bytes"] <= metrics["total_disk_space_bytes"]
    assert len(json.dumps(body)) < 2048


def test_the_longest_keepalive_is_2_kib_on_the_wire(tmp_path: Path) -> None:
    """With names of the longest, all numbers at their largest, and more models than fit."""
    found = gpus(tmp_path)
    settings = made(1, pool_name="p" * 63, provider_name="q" * 63, cpu="999999m", memory="9999Gi")
    bodies = Bodies(settings, found, Metrics(found, LOG))
    listed = {"models": [{"name": f"registry.example.com/m-{n}:latest"} for n in range(5000)]}
    scripted = ScriptedGateway()
    server = serve(scripted)
    scripted.script.append((200, listed))
    try:
        bodies._backend = Ollama(Endpoint("127.0.0.1", scripted.port))
        body = bodies.keepalive()
    finally:
        server.shutdown()
        server.server_close()
    assert len(body["inference"]["models"]) > 20
    most = dict.fromkeys(body["metrics"], 99_999_999_999_999)
    text = json.dumps({**body, "metrics": most}, separators=(",", ":")).encode()
    head = {"Authorization": f"Bearer {'t' * 88}"}
    place = Endpoint("h" * 64, 31994)
    assert len(http._request(place, "POST", PATHS[Action.KEEPALIVE], head, text)) <= 2048


def test_the_disk_of_the_images_is_told_of(tmp_path: Path) -> None:
    machine = detect(made(1, memory="1Gi"), 0, tmp_path)
    metrics = Metrics(gpus(tmp_path), LOG, disk=tmp_path)
    assert metrics.sample(machine)["cache_usage_pct"] == 0.0
    (tmp_path / "images").mkdir()
    assert 0 < metrics.sample(machine)["cache_usage_pct"] <= 100


def test_detected_machine(tmp_path: Path, closed_port: int) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    machine = detect(made(closed_port), 2, tmp_path)
    assert (machine.memory, machine.mebibytes, machine.gpu_count) == ("16000Mi", 16000, "2")
    assert machine.cpu.endswith("000m")
    assert machine.millicores % 1000 == 0
    assert machine.private_ip == machine.hostname == own_address()


def test_cpu_and_memory_use(tmp_path: Path, closed_port: int) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "stat").write_text("cpu  100 0 100 700 100 0 0 0 50 0\n")
    metrics = Metrics(gpus(tmp_path), LOG, tmp_path)
    machine = detect(made(closed_port), 0, tmp_path)
    (tmp_path / "stat").write_text("cpu  130 0 120 740 110 0 0 0 90 0\n")
    sample = metrics.sample(machine)
    assert sample["cpu_utilization_pct"] == 50.0  # 50 of 100 ticks
    assert sample["memory_utilization_pct"] == 75.0
    assert metrics.sample(machine)["cpu_utilization_pct"] == 0.0


def test_no_proc_at_all(tmp_path: Path, closed_port: int) -> None:
    log = Log(stream=io.StringIO())
    metrics = Metrics(gpus(tmp_path), log, tmp_path / "none", tmp_path / "none")
    machine = detect(made(closed_port, memory="1Gi"), 0, tmp_path)
    sample = metrics.sample(machine)
    assert sample["cpu_utilization_pct"] == sample["memory_utilization_pct"] == 0.0
    assert sample["total_disk_space_bytes"] == 0
    assert log.troubles == {
        "CPU": "its use can't be read",
        "memory": "its use can't be read",
        "disk": "its size can't be read: No such file or directory",
    }
    Metrics(gpus(tmp_path), log).sample(machine)
    assert log.troubles == {}


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(stream=io.StringIO())
    full = os.statvfs_result((4096, 4096, 1000, 20, 9, 1000, 20, 20, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: full)
    sample = Metrics(gpus(tmp_path), log).sample(detect(made(1, memory="1Gi"), 0, tmp_path))
    assert sample["total_disk_free_bytes"] == 9 * 4096
    assert log.troubles["disk"] == "less than 1 % of it is free"


class TestGpus:
    """With programs that stand in for nvidia-smi."""

    def test_none(self, tmp_path: Path) -> None:
        found = gpus(tmp_path)
        assert (found.count(), found.free(0), found.find()) == (0, 0, [])

    def test_driver_without_anybody_to_ask(self, tmp_path: Path) -> None:
        found = gpus(tmp_path, 2)
        assert (found.count(), found.free(2)) == (2, 0)

    def test_free_ones(self, tmp_path: Path) -> None:
        found = gpus(tmp_path, 4, "echo GPU-a; echo GPU-a; echo GPU-b")
        assert (found.count(), found.free(4)) == (4, 2)
        assert (found.free(3), found.free(1)) == (2, 1)  # of those that are offered

    def test_count_by_the_tool(self, tmp_path: Path) -> None:
        found = gpus(tmp_path, 0, "echo 'GPU 0: H100 (UUID: GPU-a)'; echo '  MIG 1g'")
        assert found.count() == 1

    def test_where_there_is_no_nvidia_smi_nvml_is_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        devices = [Device("nvidia", n, "H100", details={"processes": p})
                   for n, p in enumerate([[], [{"pid": 7}], []])]  # fmt: skip
        monkeypatch.setattr(nvml, "ask", lambda tool: Told(devices))
        assert gpus(tmp_path, 3).free(3) == 2

    def test_who_may_not_know_says_so(self, tmp_path: Path) -> None:
        assert gpus(tmp_path, 1, "echo '[Insufficient Permissions]'").free(1) == 0
        assert LOG.troubles["GPUs"] == (
            "nvidia-smi does not tell which are busy: [Insufficient Permissions]"
        )

    def test_failing_tool(self, tmp_path: Path) -> None:
        script = "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18"
        assert gpus(tmp_path, 1, script).free(1) == 0
        assert LOG.troubles["GPUs"].endswith(
            "nvidia-smi failed with 18: Failed to initialize NVML: Driver/library version mismatch"
        )

    def test_hanging_tool(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("provisioner.agent.devices.tool.DEADLINE", 0.3)
        found = gpus(tmp_path, 1, "exec sleep 60")
        began = time.monotonic()
        assert found.free(1) == 0
        assert time.monotonic() - began < 3
        assert "nvidia-smi did not answer within 0.3 s" in LOG.troubles["GPUs"]


class TestInference:
    """With servers that answer like Ollama, or not."""

    @pytest.fixture
    def tags(self, request: pytest.FixtureRequest) -> Any:
        def start(status: int, document: Any) -> Endpoint:
            gateway = ScriptedGateway()
            gateway.script.append((status, document))
            server = serve(gateway)
            request.addfinalizer(server.server_close)
            request.addfinalizer(server.shutdown)
            return Endpoint("127.0.0.1", gateway.port)

        return start

    def test_models(self, tags: Any) -> None:
        ollama = tags(200, {"models": [{"name": "llama3.2"}, {"name": "gemma3:1b"}]})
        assert inference(Ollama(ollama)) == {
            "status": "running",
            "ip": "127.0.0.1",
            "port": ollama.port,
            "models": ["gemma3:1b", "llama3.2"],
        }

    def test_no_models_yet(self, tags: Any) -> None:
        block = inference(Ollama(tags(200, {"models": None})))
        assert block is not None
        assert block["models"] == []

    def test_many_models_stay_small(self, tags: Any) -> None:
        many = {"models": [{"name": f"model-{n}"} for n in range(5000)]}
        block = inference(Ollama(tags(200, many)))
        assert len(json.dumps(block)) < 1200

    @pytest.mark.parametrize(
        ("status", "document"),
        [
            (500, {}),
            (200, []),
            (200, {}),
            (200, b"x"),
            (200, {"models": [1]}),
            (200, {"models": [{}]}),
            (200, {"models": 5}),
        ],
    )
    def test_something_else(self, tags: Any, status: int, document: Any) -> None:
        assert inference(Ollama(tags(status, document))) is None
        assert inference(VLLM(tags(status, document))) is None

    def test_nothing(self, closed_port: int) -> None:
        assert inference(Ollama(Endpoint("127.0.0.1", closed_port))) is None

    def test_vllm_is_told_of_too_by_one_request(
        self, tmp_path: Path, gateway: ScriptedGateway
    ) -> None:
        gateway.script.append((200, {"object": "list", "data": [{"id": "Qwen/Qwen2.5-0.5B"}]}))
        found = gpus(tmp_path)
        settings = made(gateway.port, inference_backend="vllm")
        assert Bodies(settings, found, Metrics(found, LOG)).keepalive()["inference"] == {
            "status": "running",
            "ip": "127.0.0.1",
            "port": gateway.port,
            "models": ["Qwen/Qwen2.5-0.5B"],
        }
        assert [request.path for request in gateway.requests] == ["/v1/models"]

    def test_ollama_is_asked_once(self, tmp_path: Path, gateway: ScriptedGateway) -> None:
        gateway.script.append((200, {"models": [{"name": "llama3.2"}]}))
        found = gpus(tmp_path)
        block = Bodies(made(gateway.port), found, Metrics(found, LOG)).keepalive()["inference"]
        assert block["models"] == ["llama3.2"]
        assert [request.path for request in gateway.requests] == ["/api/tags"]
