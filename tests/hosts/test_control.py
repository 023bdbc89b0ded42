"""The agent's control API on a worker, as its owner uses it there."""

from __future__ import annotations

import json
from typing import Any

import pytest
from driver import Driver, wait_until

from provisioner.lab import Host

PATIENCE = 30.0


@pytest.fixture
def worker(ready: Driver) -> Host:
    """A worker that is ready."""
    return ready.lab.host("w1")


def ask(worker: Host, path: str, *words: str) -> Any:
    """The answer's JSON."""
    done = worker.exec(["curl", "-sS", "-m", "20", *words, f"http://127.0.0.1:9999{path}"])
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def is_active(worker: Host, unit: str) -> bool:
    return worker.exec(["systemctl", "is-active", "--quiet", unit]).returncode == 0


def test_it_serves_the_worker_alone(worker: Host) -> None:
    assert ask(worker, "/status")["state"] == "ready"
    listening = worker.exec(["ss", "-Hltn", "sport = :9999"]).stdout.split()
    assert listening[3] == "127.0.0.1:9999"


def settled(worker: Host) -> str:
    """How Ollama fares, once it is no longer being stopped."""
    status = str(ask(worker, "/inference/status")["status"])
    return "" if status == "stopping" else status


def test_ollama_is_stopped_and_started_though_the_agent_has_no_rights(worker: Host) -> None:
    assert ask(worker, "/inference/status")["status"] == "running"
    assert ask(worker, "/inference/stop", "-XPOST")["status"] == "stopping"
    wait_until(lambda: not is_active(worker, "ollama"), PATIENCE, "Ollama is stopped")
    assert wait_until(lambda: settled(worker), PATIENCE, "it is told") == "stopped"
    assert ask(worker, "/inference/start", "-XPOST")["status"] in ("starting", "running")
    wait_until(
        lambda: ask(worker, "/inference/status")["status"] == "running", PATIENCE, "it is back"
    )
    assert is_active(worker, "ollama")


def test_root_does_nothing_else_for_it(worker: Host) -> None:
    """Whoever has taken the agent over can ask for no more than is on the list."""
    asks = "/run/b9agent-asks"
    odd = (
        f"cd {asks} && touch start-ssh 'stop-ollama; reboot' ..stop-ollama && mkdir -p restart-x/y"
    )
    assert worker.exec(["runuser", "-u", "b9agent", "--", "sh", "-c", odd]).returncode == 0
    wait_until(lambda: not worker.exec(["ls", "-A", asks]).stdout, PATIENCE, "all is cleared away")
    assert is_active(worker, "ollama") and is_active(worker, "b9agent-asks.path")


def test_metrics_are_there_for_prometheus(worker: Host) -> None:
    done = worker.exec(["curl", "-sS", "http://127.0.0.1:9999/metrics"])
    assert 'b9agent_state{state="ready"} 1.0' in done.stdout
    assert 'b9agent_inference_state{state="running"} 1.0' in done.stdout


def test_both_ways_of_the_tunnel_are_proven(worker: Host) -> None:
    wait_until(
        lambda: ask(worker, "/status")["tunnel"] == {"outward": True, "inward": True},
        PATIENCE,
        "both ways are proven",
    )


def test_the_tunnel_is_started_anew_where_the_agent_asks_for_it(worker: Host) -> None:
    def process() -> str:
        return worker.exec(["systemctl", "show", "-P", "MainPID", "b9-tunnel"]).stdout.strip()

    before = process()
    ask_for = ["touch", "/run/b9agent-asks/restart-b9-tunnel"]
    assert worker.exec(["runuser", "-u", "b9agent", "--", *ask_for]).returncode == 0
    wait_until(lambda: process() not in (before, "0"), PATIENCE, "another process")
    last = ask(worker, "/status")["last_keepalive"]
    wait_until(
        lambda: (ask(worker, "/status")["last_keepalive"] or 0) > (last or 0),
        PATIENCE,
        "a keepalive through the new one",
    )
    assert ask(worker, "/status")["state"] == "ready"


def test_pods_of_the_gateways_jobs_are_counted(worker: Host) -> None:
    """The reference gateway makes a Job where a worker is ready; the stand-in of k3s makes a pod
    that waits for ever."""
    wait_until(
        lambda: ask(worker, "/status")["metrics"]["worker_count"] > 0, PATIENCE, "a pod is seen"
    )
