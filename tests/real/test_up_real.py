"""`b9prov up` with the real Ollama and the real Kubernetes API on a real Debian host."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from provisioner.lab import (
    Lab,
    artifacts_dir,
    check_machine,
    lab_down,
    lab_up,
    packing,
    real_builds,
)
from provisioner.lab.artifacts import build_real
from provisioner.lab.standins import versions
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


def tiny(lab: Lab) -> str:
    """The tiny model's name."""
    return f"{lab.mirror_url.removeprefix('http://')}/library/tiny:latest"


def digest() -> str:
    """The digest of its manifest."""
    manifest = artifacts_dir("real") / "v2/library/tiny/manifests/latest"
    return hashlib.sha256(manifest.read_bytes()).hexdigest()


def run(
    command: str, lab: Lab, *options: str, **settings: object
) -> subprocess.CompletedProcess[str]:
    """Run the command line for real, with these settings of Ollama."""
    ollama = {"models": [f"{tiny(lab)}@sha256:{digest()}"], "insecure": True, **settings}
    return subprocess.run(
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


def b9prov(command: str, lab: Lab, *options: str, **settings: object) -> list[dict]:
    """The JSON lines of one that goes well."""
    done = run(command, lab, *options, **settings)
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


def ask(lab: Lab, path: str, *options: str) -> dict:
    """The answer of the worker's Ollama."""
    argv = ["curl", "-sS", "-m", "60", *options, f"http://127.0.0.1:11434{path}"]
    done = lab.host("w1").exec(argv, timeout=90)
    assert done.returncode == 0, done.stdout + done.stderr
    return dict(json.loads(done.stdout))


def test_the_model_was_pulled_and_answers(lab: Lab, worker: dict) -> None:
    body = {"model": tiny(lab), "prompt": "hi", "stream": False, "options": {"num_predict": 4}}
    assert ask(lab, "/api/generate", "-d", json.dumps(body))["done"] is True
    (model,) = ask(lab, "/api/tags")["models"]
    assert (model["name"], model["digest"]) == (tiny(lab), digest())


def restamped() -> dict[str, str]:
    """The same build of Ollama, in the mirror as another version: only what it says it is differs,
    in as many bytes."""
    theirs = (
        artifacts_dir("real") / f"ollama/{versions.OLLAMA}/ollama-linux-{real_builds.arch()}.tgz"
    )
    newer = f"{versions.OLLAMA[:-1]}{int(versions.OLLAMA[-1]) + 1}"
    with tarfile.open(theirs) as tar:
        program = tar.extractfile("bin/ollama").read()
    stamped = program.replace(versions.OLLAMA.encode(), newer.encode())
    assert stamped != program and len(stamped) == len(program)
    note = f"The build of {versions.OLLAMA}, restamped for a test.\n".encode()
    data = packing.tgz({"bin/ollama": (0o755, stamped), "lib/ollama/RESTAMPED": (0o644, note)})
    packing.place(theirs.parents[1] / newer / theirs.name, data)
    return {"version": newer, "sha256": hashlib.sha256(data).hexdigest()}


@pytest.mark.timeout(900)
def test_ollama_is_upgraded_and_downgraded_without_losing_models(lab: Lab, worker: dict) -> None:
    blobs = lab.host("w1").path("/usr/share/ollama/.ollama/models/blobs")
    before = {blob.name: blob.stat().st_ino for blob in blobs.iterdir()}
    beside = lab.host("w1").path("/usr/local/lib/ollama/RESTAMPED")
    newer = restamped()
    for pins, version in ((newer, newer["version"]), ({}, versions.OLLAMA)):
        lines = b9prov("up", lab, probe=True, **pins)
        assert lines[-1]["hosts"]["w1"]["failed"] == 0
        assert ask(lab, "/api/version")["version"] == version
        assert beside.exists() == bool(pins)
        assert [model["name"] for model in ask(lab, "/api/tags")["models"]] == [tiny(lab)]
        assert {blob.name: blob.stat().st_ino for blob in blobs.iterdir()} == before
    assert b9prov("up", lab, probe=True)[-1]["hosts"]["w1"]["changed"] == 0


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


VERIFY_JOB = ("-e", json.dumps({"k3s": {"verify_job": True}}))
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "played"}}


def kubectl(lab: Lab, *words: str) -> str:
    """What kubectl on w1 says."""
    done = lab.host("w1").exec(["k3s", "kubectl", *words])
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


@contextmanager
def played_kubelet(lab: Lab, phase: str) -> Iterator[None]:
    """The test plays the kubelet that is not there: pods of the verify Job end with `phase`."""
    lab.host("w1").path("/opt/node.json").write_text(json.dumps(NODE))
    kubectl(lab, "apply", "-f", "/opt/node.json")
    ended = threading.Event()
    status = json.dumps({"status": {"phase": phase, "conditions": [SAID]}})

    def play() -> None:
        while not ended.wait(0.2):
            for pod in kubectl(lab, "get", "pods", "-l", f"job-name={JOB}", "-o", "name").split():
                patch = ["patch", pod, "--subresource=status", "-p", status]
                lab.host("w1").exec(["k3s", "kubectl", *patch])  # it may be gone by now

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(20)
        kubectl(lab, "delete", "node", "played")


JOB = "b9prov-verify-run"
SAID = {"type": "Ready", "status": "False", "message": "as the test has it"}


@pytest.mark.timeout(300)
def test_without_a_node_it_is_said_that_no_job_can_be_run(lab: Lab, worker: dict) -> None:
    events = b9prov("up", lab, *VERIFY_JOB)
    assert events[-1]["hosts"]["w1"]["changed"] == 0
    assert any("this Kubernetes has no node" in json.dumps(event) for event in events)


@pytest.mark.timeout(300)
def test_a_job_is_run_to_its_end_and_leaves_nothing(lab: Lab, worker: dict) -> None:
    with played_kubelet(lab, "Succeeded"):
        events = b9prov("up", lab, *VERIFY_JOB)
    assert events[-1]["hosts"]["w1"]["changed"] == 0
    ran = [event.get("task") for event in events if event["event"] == "task_finished"]
    assert "the Job ended well" in ran
    assert JOB not in kubectl(lab, "get", "jobs", "-o", "name")


@pytest.mark.timeout(300)
def test_a_job_that_fails_fails_the_run_and_says_why(lab: Lab, worker: dict) -> None:
    with played_kubelet(lab, "Failed"):
        done = run("up", lab, *VERIFY_JOB)
    assert done.returncode == 1, done.stdout[-3000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    (finished,) = (event for event in events if event["event"] == "run_finished")
    assert "the pod is Failed; as the test has it" in finished["hosts"]["w1"]["reason"]
    assert JOB not in kubectl(lab, "get", "jobs", "-o", "name")


@pytest.mark.timeout(300)
def test_a_kubernetes_is_adopted_by_its_kubeconfig(lab: Lab, worker: dict) -> None:
    """The thin one again, as if it were not k3s: by a kubectl of its own and a kubeconfig."""
    w1 = lab.host("w1")
    program = w1.path("/usr/local/bin/kubectl")
    program.write_text('#!/bin/sh\nexec k3s kubectl "$@"\n')
    program.chmod(0o755)
    w1.path("/opt/kubeconfig").write_text(w1.path("/etc/rancher/k3s/k3s.yaml").read_text())
    k3s = {"mode": "existing", "kubeconfig": "/opt/kubeconfig"}
    adopted = b9prov("up", lab, "-e", json.dumps({"k3s": k3s}))[-1]["hosts"]["w1"]
    assert (adopted["failed"], adopted["changed"]) == (0, 0)
    program.unlink()
    without = run("up", lab, "-e", json.dumps({"k3s": k3s}))
    assert without.returncode == 1 and "command kubectl: found nothing" in without.stdout


# as the vendor's install script writes it
UNIT_BY_HAND = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3

[Install]
WantedBy=default.target
"""


def install_by_hand(lab: Lab) -> None:
    """Ollama as that script leaves it, with the tiny model pulled."""
    host = lab.host("w1")
    program = host.path("/usr/local/bin/ollama")
    program.write_bytes(real_builds.ollama(cache_dir() / "real", print).read_bytes())
    program.chmod(0o755)
    host.path("/etc/systemd/system/ollama.service").write_text(UNIT_BY_HAND)
    for command in (
        "useradd -r -s /bin/false -U -m -d /usr/share/ollama ollama",
        "systemctl daemon-reload && systemctl enable --now ollama",
        "until curl -sf 127.0.0.1:11434/api/version; do sleep 0.2; done",
        f"HOME=/root ollama pull --insecure {tiny(lab)}",
    ):
        done = host.exec(["sh", "-c", command])
        assert done.returncode == 0, done.stderr


@pytest.mark.timeout(600)
def test_an_ollama_of_ones_own_is_adopted_and_left_as_it_was(lab: Lab, worker: dict) -> None:
    b9prov("down", lab, "--yes")
    install_by_hand(lab)
    host = lab.host("w1")
    unit = host.path("/etc/systemd/system/ollama.service")
    assert b9prov("up", lab, probe=True)[-1]["hosts"]["w1"]["failed"] == 0
    assert unit.read_text() == UNIT_BY_HAND
    assert [model["name"] for model in ask(lab, "/api/tags")["models"]] == [tiny(lab)]
    assert b9prov("up", lab, probe=True)[-1]["hosts"]["w1"]["changed"] == 0
    b9prov("down", lab, "--yes")
    assert unit.read_text() == UNIT_BY_HAND and not list(unit.parent.glob("ollama.service.d/*"))
    assert host.exec(["systemctl", "is-active", "ollama"]).stdout == "active\n"
    assert [model["name"] for model in ask(lab, "/api/tags")["models"]] == [tiny(lab)]
