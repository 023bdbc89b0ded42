"""`b9prov up` with the real Ollama and the real Kubernetes API on a real Debian host."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from provisioner.lab import Lab, artifacts_dir, check_machine, lab_down, lab_up
from provisioner.lab.artifacts import build_real
from provisioner.paths import cache_dir

UP_SECONDS = 420.0
JOB_SECONDS = 60.0
NAME = "real"
ROLE = "run.beam.cloud/role=worker"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One worker and the gateway host, with the programs built from their real sources."""
    missing = check_machine()
    if missing:
        pytest.skip(f"no lab here: {missing[0]}")
    build_real(artifacts_dir("real"), cache_dir() / "real", print)
    lab = lab_up(NAME, 1, progress=print, artifacts="real")
    yield lab
    lab_down(NAME)


def b9prov(command: str, lab: Lab, *options: str) -> list[dict]:
    """Run the command line for real; its JSON lines."""
    mirror = lab.mirror_url.removeprefix("http://")
    ollama = {"models": [f"{mirror}/library/tiny:latest"], "insecure": True}
    done = subprocess.run(
        [
            Path(sys.executable).with_name("b9prov"),
            *(command, lab.inventory_path, "--output", "json"),
            *("-e", json.dumps({"ollama": ollama}), *options),
        ],
        capture_output=True,
        text=True,
        timeout=UP_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def worker(lab: Lab) -> dict:
    """The summary of `up` on the bare worker."""
    return b9prov("up", lab)[-1]["hosts"]["w1"]


@pytest.mark.timeout(900)
def test_up_makes_the_worker_ready(worker: dict) -> None:
    assert worker["failed"] == 0
    assert worker["changed"] > 20


@pytest.mark.timeout(600)
def test_second_up_changes_nothing(lab: Lab, worker: dict) -> None:
    hosts = b9prov("up", lab)[-1]["hosts"]
    assert {name: counts["changed"] for name, counts in hosts.items()} == {"w1": 0, "gateway": 0}


def test_the_programs_are_the_real_ones(lab: Lab, worker: dict) -> None:
    w1 = lab.host("w1")
    assert "stand-in" not in w1.exec(["ollama", "--version"]).stdout
    version = json.loads(w1.exec(["k3s", "kubectl", "version", "-o", "json"]).stdout)
    assert version["serverVersion"]["gitVersion"].startswith("v1.33")


def test_the_model_was_pulled_and_answers(lab: Lab, worker: dict) -> None:
    mirror = lab.mirror_url.removeprefix("http://")
    body = {"model": f"{mirror}/library/tiny:latest", "prompt": "hi", "stream": False}
    body["options"] = {"num_predict": 4}
    done = lab.host("w1").exec(
        ["curl", "-sS", "-m", "60", "-d", json.dumps(body), "http://127.0.0.1:11434/api/generate"],
        timeout=90,
    )
    assert json.loads(done.stdout)["done"] is True, done.stdout + done.stderr


def test_the_gateway_ran_its_job_through_the_reverse_tunnel(lab: Lab, worker: dict) -> None:
    """The reference gateway posts its Job to the real Kubernetes API; kubectl sees it."""
    done = lab.host("w1").exec(
        [
            "k3s",
            "kubectl",
            "wait",
            "--for=create",
            "job",
            "-l",
            ROLE,
            f"--timeout={JOB_SECONDS:.0f}s",
        ],
        timeout=JOB_SECONDS + 10,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_kubectl_reaches_it_by_the_kubeconfig_and_verifies_it(
    lab: Lab, worker: dict, tmp_path: Path
) -> None:
    program, written = Path(sys.executable).with_name("b9prov"), tmp_path / "kubeconfig"
    argv = [program, "kubeconfig", lab.inventory_path, "w1", "-o", written]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    w1 = lab.host("w1")
    w1.path("/opt/right").write_text(written.read_text())
    w1.path("/opt/wrong").write_text(written.read_text().replace(": localhost", ": another"))
    asked = "k3s kubectl --kubeconfig /opt/{} get --raw /api/v1/namespaces/default"
    done = w1.exec(asked.format("right").split())
    assert json.loads(done.stdout)["metadata"]["name"] == "default", done.stderr
    refused = w1.exec(asked.format("wrong").split())
    assert refused.returncode != 0 and "certificate is valid for" in refused.stderr
