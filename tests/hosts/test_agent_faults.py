"""Agents on workers whose gateway, tunnel, token, settings or machine go wrong."""

from __future__ import annotations

import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from driver import KEEPALIVE_SECONDS, Driver, wait_until
from looks import (
    AGENT_CONFIG,
    Json,
    agent_config,
    create_machine,
    delete_machine,
    machine_id,
    machines,
    reverse_address,
    sh,
    short_lives,
    wait_ready,
)

from provisioner.lab import Host, Lab

PATIENCE = 30.0
STATE = "/var/lib/reference-gateway/state.json"


@pytest.fixture(autouse=True)
def _all_are_ready(ready: Driver) -> None:
    for worker in ready.lab.worker_hosts:
        wait_ready(ready.lab, worker)


@pytest.fixture
def worker(lab: Lab) -> Host:
    """One of the workers."""
    return lab.host("w1")


def status(worker: Host) -> Json:
    """What `b9agent status` says, whether it is ready or not."""
    told: Json = json.loads(worker.exec(["b9agent", "status", "--json"]).stdout)
    return told


def journal(worker: Host, since: float) -> list[tuple[float, str]]:
    """What the agent has logged since then: Unix time and line."""
    argv = ["journalctl", "-u", "b9agent", "-o", "json", f"--since=@{int(since)}", "--no-pager"]
    entries = map(json.loads, worker.exec(argv).stdout.splitlines())
    lines = [(int(each["__REALTIME_TIMESTAMP"]) / 1e6, str(each["MESSAGE"])) for each in entries]
    return [line for line in lines if line[0] >= since]


def logged(worker: Host, since: float, pattern: str, seconds: float = PATIENCE) -> float:
    """When the agent has said something, awaited."""

    def found() -> list[float]:
        return [at for at, line in journal(worker, since) if re.search(pattern, line)]

    return wait_until(found, seconds, pattern)[0]


def keeps_alive(lab: Lab, worker: Host) -> None:
    """Two more keepalives come."""

    def last() -> int:
        return int(machines(lab)[machine_id(worker)]["lastKeepalive"])

    for _ in range(2):
        before = last()
        wait_until(lambda than=before: last() > than, 4 * KEEPALIVE_SECONDS + 15, "a keepalive")


@contextmanager
def drop_in(worker: Host, lines: str) -> Iterator[None]:
    """The agent's unit with these lines more, restarted before and after."""
    folder = "/run/systemd/system/b9agent.service.d"
    restart = "systemctl daemon-reload; systemctl restart b9agent"
    sh(worker, f"mkdir -p {folder}; printf '[Service]\\n{lines}\\n' >{folder}/x.conf; {restart}")
    try:
        yield
    finally:
        sh(worker, f"rm -r {folder}; {restart}")


# -- the gateway


def test_a_gateway_that_is_gone_for_ten_minutes(lab: Lab) -> None:
    """Of its time: machines live for ten seconds here, not for 300, and so it is gone for 20."""
    with short_lives(lab, 2 * KEEPALIVE_SECONDS) as minute:
        since = int(time.time())
        for worker in lab.worker_hosts:
            wait_ready(lab, worker, since)
        sh(lab.gateway, "systemctl stop reference-gateway")
        time.sleep(10 * minute)
        for worker in lab.worker_hosts:
            wait_until(lambda w=worker: status(w)["state"] == "expired", PATIENCE, "the lapse")
        sh(lab.gateway, "systemctl start reference-gateway")
        lab.wait_gateway()
        assert not any(each["status"] == "ready" for each in machines(lab).values())
        began = time.monotonic()
        wait_until(
            lambda: [each["status"] for each in machines(lab).values()] == ["ready"] * 3,
            PATIENCE,
            "all are ready",
        )
        assert time.monotonic() - began < KEEPALIVE_SECONDS + 1.5


def test_a_machine_that_is_gone_is_ready_two_seconds_later(lab: Lab, worker: Host) -> None:
    since = time.time()
    delete_machine(lab, machine_id(worker))
    failed = logged(worker, since, "keepalive: HTTP 500 .*machine not found; next try in 0 s")
    assert logged(worker, failed, "the machine is ready") - failed < 2
    wait_ready(lab, worker)


def test_a_token_that_is_revoked_is_told_of_and_not_hammered(lab: Lab, worker: Host) -> None:
    token = agent_config(worker)["machine"]["token"]
    stop, start = "systemctl stop reference-gateway", "systemctl start reference-gateway"

    def gateway_with(edit: Callable[[list[str]], Any]) -> None:
        sh(lab.gateway, stop)
        state = lab.gateway.path(STATE)
        kept = json.loads(state.read_text())
        edit(kept["tokens"])
        state.write_text(json.dumps(kept))
        sh(lab.gateway, start)
        lab.wait_gateway()

    since = time.time()
    gateway_with(lambda tokens: tokens.remove(token))
    try:
        logged(worker, since, "refuses this machine's token: .*HTTP 401 .*; next try in 300 s")
        told = status(worker)
        assert (told["state"], told["running"]) == ("refused", True)
        assert "HTTP 401" in told["last_error"] and token not in json.dumps(told)
        metrics = sh(worker, "curl -s http://127.0.0.1:9999/metrics")
        assert 'b9agent_state{state="refused"} 1.0' in metrics
        failures = re.findall("b9agent_failures_total.*", metrics)
        time.sleep(4 * KEEPALIVE_SECONDS)
        again = sh(worker, "curl -s http://127.0.0.1:9999/metrics")
        assert re.findall("b9agent_failures_total.*", again) == failures
    finally:
        gateway_with(lambda tokens: tokens.append(token))
    sh(worker, "systemctl restart b9agent")
    wait_ready(lab, worker)


# -- the tunnel


@contextmanager
def firewall(host: Host, *rules: str) -> Iterator[None]:
    """Packets into and out of a host that fit are dropped without a word."""
    leader = host.leader()
    assert leader is not None
    nft = ["nsenter", f"--target={leader.pid}", "--net", "nft"]
    chains = "".join(
        f"chain {way} {{ type filter hook {way} priority 0; {rule} drop; }}\n"
        for way, rule in zip(("input", "output"), rules, strict=False)
    )
    subprocess.run([*nft, "-f", "-"], input=f"table inet b9 {{ {chains} }}", text=True, check=True)
    try:
        yield
    finally:
        subprocess.run([*nft, "delete", "table", "inet", "b9"], check=True)


def tunnel_process(worker: Host) -> str:
    """The number of its ssh; 0 for none."""
    return sh(worker, "pgrep -x ssh -P $(systemctl show -P MainPID b9-tunnel) || echo 0")


def await_another(worker: Host, process: str) -> None:
    """Another ssh runs."""
    wait_until(lambda: tunnel_process(worker) not in (process, "0"), PATIENCE, "another ssh")


def await_both_ways(worker: Host) -> None:
    """The agent tells that the tunnel carries both ways."""

    def ways() -> Any:
        return json.loads(sh(worker, "curl -s http://127.0.0.1:9999/status"))["tunnel"]

    wait_until(lambda: ways() == {"outward": True, "inward": True}, PATIENCE, "both are proven")


def test_a_connection_whose_packets_are_lost_is_replaced(lab: Lab, worker: Host) -> None:
    """A firewall drops the packets of this one connection, which both ends have open."""
    process = tunnel_process(worker)
    (port,) = re.findall(rf":(\d+) \S+ users:.*pid={process},", sh(worker, "ss -Htnp"))
    since = time.time()
    with firewall(worker, f"tcp dport {port}", f"tcp sport {port}"):
        await_another(worker, process)
        wait_ready(lab, worker, int(since) + KEEPALIVE_SECONDS, 60)
        await_both_ways(worker)


def test_a_tunnel_that_carries_outward_only_is_started_anew(lab: Lab) -> None:
    """What the gateway sends to the worker's address is lost, which no ssh can know of. The worker
    is another one: an agent asks for a new start every five minutes at most."""
    worker = lab.host("w2")
    process, since = tunnel_process(worker), time.time()
    await_both_ways(worker)
    with firewall(lab.gateway, f"ip daddr {reverse_address(worker)} tcp dport 6443"):
        said = "the tunnel has carried nothing inward for 20 s: it is started anew"
        logged(worker, since, said, 30)
        await_another(worker, process)
    wait_ready(lab, worker, int(since))
    await_both_ways(worker)


# -- the machine


def test_without_proc_stat_it_goes_on(lab: Lab, worker: Host) -> None:
    with drop_in(worker, "InaccessiblePaths=/proc/stat"):
        keeps_alive(lab, worker)
        assert status(worker)["problems"] == ["CPU: its use can't be read"]
        assert "problem         CPU: its use can't be read" in sh(worker, "b9agent status")
    wait_ready(lab, worker)
    wait_until(lambda: status(worker)["problems"] == [], PATIENCE, "no more problems")


def test_an_nvidia_smi_that_hangs(lab: Lab, worker: Host) -> None:
    """A stand-in for one that is stuck in its driver and hears no signal but SIGKILL."""
    tool = "/usr/local/bin/nvidia-smi"
    worker.path(tool).write_text("#!/bin/sh\ntrap '' TERM\nwhile :; do sleep 60; done\n")
    worker.path(tool).chmod(0o755)
    since = time.time()
    try:
        with drop_in(worker, "Environment=B9AGENT_GPU_COUNT=1"):
            wait_ready(lab, worker, int(since))
            keeps_alive(lab, worker)
            (problem,) = status(worker)["problems"]
            assert re.match(f"GPUs: ({tool} did not answer within 5 s|.* still hangs)", problem)
            assert machines(lab)[machine_id(worker)]["machineMetrics"]["freeGpuCount"] in (0, "0")
            warned = [line for _, line in journal(worker, since) if "GPUs: " in line]
            assert len(warned) <= 2, warned  # one for each start
    finally:
        worker.path(tool).unlink()
    wait_ready(lab, worker)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("pool: [gpu\n", "config.yaml:2: not YAML"),
        ("gateway:\n  host: 127.0.0.1\nmachine:\n  id: e13d", "machine.id (--machine-id): 'e13d'"),
        ("", "machine.token (--token) is missing"),
    ],
    ids=["no YAML", "half", "empty"],
)
def test_settings_that_are_no_good(lab: Lab, worker: Host, settings: str, said: str) -> None:
    """It says which, and systemd does not try it over and over."""
    path = worker.path(AGENT_CONFIG)
    good = path.read_text()
    since = time.time()
    try:
        path.write_text(settings)
        worker.exec(["systemctl", "restart", "b9agent"])
        logged(worker, since, re.escape(said))
        wait_until(
            lambda: sh(worker, "systemctl show -P ActiveState b9agent") == "failed",
            PATIENCE,
            "it is given up",
        )
        shown = sh(worker, "systemctl show -p ExecMainStatus -p NRestarts b9agent").split()
        assert set(shown) == {"ExecMainStatus=2", "NRestarts=0"}
        assert "Traceback" not in str(journal(worker, since))
        assert status(worker) == {"schema": 1, "state": "absent", "running": False}
    finally:
        path.write_text(good)
        sh(worker, "systemctl restart b9agent")
    wait_ready(lab, worker)


def test_settings_that_it_may_not_read(worker: Host) -> None:
    argv = ["runuser", "-u", "b9agent", "--", "b9agent", "--config", AGENT_CONFIG]
    done = worker.exec(argv)
    assert done.returncode == 2
    assert done.stderr == f"b9agent: cannot read {AGENT_CONFIG}: Permission denied\n"


def test_one_agent_on_a_machine(worker: Host) -> None:
    """Another user has another home, and yet is told."""
    command = "b9agent --config own.yaml --machine-id 1165a9b6 --gateway-host localhost --once"
    done = worker.exec(
        [
            "runuser",
            "-l",
            "admin",
            "-c",
            f"umask 77; echo 'machine: {{token: x}}' >own.yaml; {command}",
        ]
    )
    assert done.returncode == 1, done.stderr
    assert "another b9agent runs here already: process" in done.stderr


# -- the guides


def test_the_guides_commands_work_on_a_worker(lab: Lab, worker: Host) -> None:
    """The guide's agent by hand, through the tunnel, for a machine that was just created; then the
    Go agent's `init`, and it again."""
    made = create_machine(lab)
    token, name = made["registrationToken"], made["id"]
    sh(worker, "systemctl stop b9agent")
    try:
        flags = f"--machine-id {name} --pool-name {lab.pool} --gateway-host localhost"
        sh(worker, f'b9agent --token "{token}" {flags} --gateway-port 1994 --debug --once')
        assert machines(lab)[name]["status"] == "ready"
        delete_machine(lab, name)
        where = f"--gateway localhost:1994 --token {token} --pool {lab.pool} --machine-id {name}"
        sh(worker, f"b9agent init {where}; stat -c %a /root/.b9agent/config.yaml | grep -x 600")
        said = sh(worker, "b9agent config show")
        assert name in said and token not in said
        sh(worker, "b9agent --once --config /root/.b9agent/config.yaml")
        assert machines(lab)[name]["status"] == "ready"
    finally:
        delete_machine(lab, name)
        sh(worker, "rm -rf /root/.b9agent; systemctl start b9agent")
    wait_ready(lab, worker)
