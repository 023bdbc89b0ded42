"""Commands for every day, on real hosts: verified, tried, drained, upgraded, watched, described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Json, Ran, Running, tail, wait_until
from looks import machine_id, wait_ready
from test_at_hand import PROGRAM, b9prov, sh

JOBS = "/apis/batch/v1/namespaces/default/jobs"
SECONDS = 60


def asked(driver: Driver, command: str, *words: str, code: int = 0) -> Json:
    """What it answers in JSON."""
    ran = driver.run(command, *words)
    assert ran.code == code, tail(ran)
    answer: Json = json.loads(ran.out)
    return answer


def call(driver: Driver, worker: str, method: str, path: str, body: Any = None) -> None:
    """Ask the worker's k3s as its administrator."""
    token = "$(sed -n 's/^ *token: //p' /etc/rancher/k3s/k3s.yaml)"
    data = "" if body is None else f"-d '{json.dumps(body)}'"
    header = f'-H "Authorization: Bearer {token}"'
    sh(driver, worker, f"curl -sSk -X {method} {header} {data} https://127.0.0.1:6443{path}")


def test_a_worker_is_verified_by_a_job_that_leaves_nothing(ready: Driver) -> None:
    (row,) = asked(ready, "verify", "w1", "--job")["hosts"]
    assert row["job"]["nodes"] == ["w1"] and row["machine_id"] == machine_id(ready.lab.host("w1"))
    steps = {step["step"]: step["ok"] for step in row["steps"]}
    assert steps["the Job ended well"] and all(steps.values())
    assert "b9prov-verify" not in sh(ready, "w1", "k3s kubectl get jobs")


def test_inference_is_tried_and_left_as_it_was(ready: Driver) -> None:
    pull = "curl -sS -H 'Content-Type: application/json' -d '{\"model\": \"tiny\"}' "
    sh(ready, "w1", f"{pull} http://127.0.0.1:11434/api/pull")
    done = b9prov(ready, "infer", str(ready.inventory()), "w1", "--prompt", "Hello?")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "tiny:latest: This is the ollama-stand-in speaking."
    sh(ready, "w1", "systemctl stop ollama")
    found = asked(ready, "infer", "w1", "--model", "tiny", "--requests", "2")
    assert [step["detail"] for step in found["steps"][::6]] == [
        "started",
        "stopped, as it was found",
    ]
    assert sh(ready, "w1", "systemctl is-active ollama").strip() == "inactive"
    sh(ready, "w1", "systemctl start ollama")
    models = asked(ready, "status", "--limit", "w1")["hosts"][0]["models"]
    assert models == ["tiny:latest"]


@pytest.fixture
def stays(ready: Driver) -> Iterator[str]:
    """A pod on w1 that can't be evicted."""
    labels = {"k3s-stand-in/stays": "true"}
    job: Json = {"kind": "Job", "metadata": {"name": "stays"}}
    job["spec"] = {"template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}
    call(ready, "w1", "POST", JOBS, job)
    yield "default/stays-stand-in"
    call(ready, "w1", "DELETE", f"{JOBS}/stays")


def test_a_node_is_drained_with_a_deadline_and_opened_again(ready: Driver, stays: str) -> None:
    inventory = str(ready.inventory())
    done = b9prov(ready, "drain", inventory, "w1", "--timeout", "1")
    assert done.returncode == 1, done.stderr
    assert f"{stays} did not end within 1 s" in done.stderr and stays in done.stdout
    assert f"uncordon {inventory} w1" in done.stderr  # and what it means for the gateway
    (row,) = asked(ready, "status", "--limit", "w1")["hosts"]
    assert row["k3s"] == "active, cordoned" and row["ready"]
    call(ready, "w1", "DELETE", f"{JOBS}/stays")
    (node,) = asked(ready, "drain", "w1")["nodes"]
    assert node["ok"] and stays not in node["evicted"] and node["stays"] == []
    assert asked(ready, "cordon", "w1")["nodes"][0]["changed"] is False
    assert [asked(ready, "uncordon", "w1")["nodes"][0]["changed"] for _ in "12"] == [True, False]


def old_agent(driver: Driver, *workers: str) -> None:
    """Have the agent's command say that it is another version, for `up` to put right."""
    for worker in workers:
        sh(driver, worker, "printf '#!/bin/sh\\necho b9agent 0.0.1\\n' > /usr/local/bin/b9agent")


def upgraded(driver: Driver, inventory: Path | None = None) -> tuple[Ran, list[Json]]:
    ran = driver.run("upgrade", inventory=inventory, seconds=SECONDS)
    return ran, [json.loads(line) for line in ran.out.splitlines()]


def test_an_upgrade_goes_host_by_host_and_stops_at_the_first_failure(ready: Driver) -> None:
    old_agent(ready, "w1", "w2")

    def too_much(data: Json) -> None:
        data["hosts"]["w1"]["preflight"] = {"min_disk_gib": 1_000_000}

    ran, lines = upgraded(ready, inventory=ready.inventory(too_much))
    assert ran.code == 1, tail(ran)
    plan = [(row["name"], row["part"], row["now"]) for row in lines[0]["upgrades"]]
    assert plan == [("w1", "agent", "0.0.1"), ("w2", "agent", "0.0.1")]
    assert (lines[-1]["done"], lines[-1]["left"]) == ([], ["w1", "w2"])
    assert "0.0.1" in sh(ready, "w2", "b9agent --version")  # not begun
    ran, lines = upgraded(ready)
    assert ran.code == 0, tail(ran)
    assert lines[-1]["done"] == ["w1", "w2"]
    ran, lines = upgraded(ready)
    assert (ran.code, lines) == (0, [{**lines[0], "upgrades": []}])


def test_a_host_that_goes_away_is_seen_to_and_comes_back(ready: Driver) -> None:
    """Others are asked on meanwhile."""
    words = ("status", str(ready.inventory()), "--watch", "--interval", "1", "--output", "json")
    watch = Running([PROGRAM, *words], ready.env)

    def latest() -> dict[str, Json]:
        return {row["name"]: row for row in json.loads(watch._lines[-1])["hosts"]}

    try:
        wait_until(lambda: watch._lines and latest()["w3"]["ready"], SECONDS, "all are seen")
        sh(ready, "w3", "systemctl stop ssh.socket ssh; true")
        wait_until(lambda: latest()["w3"]["ssh"] == "down", SECONDS, "w3 is seen to be gone")
        assert latest()["w1"]["ready"] and latest()["w3"]["reason"]
        sh(ready, "w3", "systemctl start ssh")
        wait_until(lambda: latest()["w3"]["ready"], SECONDS, "w3 is back")
    finally:
        sh(ready, "w3", "systemctl start ssh")
        watch.interrupt()
    ran = watch.end(10)
    assert (ran.code, ran.err) == (0, "")


def test_an_inventory_is_written_whose_answers_were_tried(ready: Driver) -> None:
    lab = ready.lab
    key, token = str(lab.identity_file), str(lab.admin_token_path)
    words = ["init", "--host", lab.host("w1").address, "--user", "admin", "--identity-file", key]
    words += ["--gateway-host", lab.gateway.address, "--token", token]
    refused = b9prov(ready, *words, "new.yaml")
    assert refused.returncode == 1 and "unknown host key" in refused.stderr
    done = b9prov(ready, *words, "new.yaml", "--host-keys", "accept-new")
    assert done.returncode == 0, done.stderr
    tried = [line.split()[1] for line in done.stderr.splitlines()]
    assert tried == [
        "ssh:",
        "sudo:",
        "gateway:",
        "token:",
        "pool:",
        "ssh:",
        "sudo:",
        "python:",
        "gpu:",
    ]
    text = (ready.home / "new.yaml").read_text()
    assert "gpu: false" in text and Path(token).read_text().strip() not in text
    done = b9prov(ready, "status", "new.yaml")
    assert "1 of 1 ready" in done.stdout, done.stderr
    words += ["other.yaml", "--host-keys", "accept-new", "--pool", "nosuch"]
    done = b9prov(ready, *words)
    assert done.returncode == 1 and "'nosuch' is not configured" in done.stderr
    assert not (ready.home / "other.yaml").exists()


def test_the_gateways_pool_has_the_workers(ready: Driver) -> None:
    for worker in ready.lab.worker_hosts:
        wait_ready(ready.lab, worker)
    words = ("pool", "show", ready.lab.pool, str(ready.inventory()), "--output", "json")
    done = b9prov(ready, *words)
    assert done.returncode == 0, done.stderr
    pool = json.loads(done.stdout)["pool"]
    assert (pool["ready"], pool["host_names"]) == (3, ["w1", "w2", "w3"])
