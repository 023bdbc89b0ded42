"""The gateway host: prepared without harm to whom else it serves, and its workers' places."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from driver import Driver, Json, Ran, Running, tail, wait_until
from looks import (
    differences,
    footprint,
    k3s_answers,
    key_lines,
    leaks,
    reverse_address,
    secrets_of,
    sh,
    wait_ready,
)

from provisioner.lab import Host, Lab

CONFIG = "/etc/ssh/sshd_config"
DROP_IN = "/etc/ssh/sshd_config.d/50-b9prov.conf"
LOG = "/var/log/b9prov/audit.jsonl"
BACK_SECONDS = 5.0  # that a worker may be away while its key is renewed


def b9prov(driver: Driver, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    """`b9prov` with these words and no more."""
    argv = [str(Path(sys.executable).with_name("b9prov")), *words]
    return subprocess.run(
        argv, env=driver.env, input=stdin, capture_output=True, text=True, timeout=60, check=False
    )


def gateway(driver: Driver, what: str, inventory: Path, *words: str) -> Ran:
    """`b9prov gateway WHAT INVENTORY …` with JSON lines."""
    begun = time.monotonic()
    done = b9prov(driver, "gateway", what, str(inventory), "--output", "json", *words)
    return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)


def unmanaged(data: Json) -> None:
    data["gateway"]["manage"] = False


@contextmanager
def edited(host: Host, path: str, edit: Callable[[str], str]) -> Iterator[None]:
    """A file of the host that is otherwise for the length of the block."""
    file = host.path(path)
    before = file.read_text()
    file.write_text(edit(before))
    try:
        yield
    finally:
        file.write_text(before)


def loads(host: Host) -> tuple[str, str]:
    """When sshd was last loaded, and which process it is."""
    names = ("StateChangeTimestampMonotonic", "MainPID")
    shown = [sh(host, f"systemctl show -P {name} ssh") for name in names]
    return shown[0], shown[1]


def assert_admin_logs_in(lab: Lab) -> None:
    """By a new connection, past b9prov."""
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes")
    argv = ["ssh", "-F", "none", "-i", str(lab.identity_file)]
    argv += [word for each in options for word in ("-o", each)]
    done = subprocess.run(
        [*argv, f"admin@{lab.gateway.address}", "sudo", "-n", "id", "-u"],
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout == "0\n", done.stderr


# -- a gateway host that nobody has prepared


@pytest.fixture(scope="module")
def bare(driver: Driver) -> Driver:
    """The hosts as new; tests leave the gateway host so."""
    driver.lab.reset_all()
    return driver


def test_a_dry_run_shows_all_and_changes_nothing(bare: Driver) -> None:
    host = bare.lab.gateway
    before, loaded = footprint(host), loads(host)
    ran = gateway(bare, "prepare", bare.inventory(), "--check", "--diff")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(host)) == ""
    assert loads(host) == loaded
    shown = {each["item"] for each in ran.of("task_finished", status="changed") if each.get("item")}
    assert len(shown) >= 9, shown
    assert "PermitTTY no" in ran.out and "ExecStart=/etc/b9prov/free-listener" in ran.out


def test_a_broken_sshd_config_is_refused_and_sshd_left_alone(bare: Driver) -> None:
    host = bare.lab.gateway
    loaded = loads(host)
    with edited(host, CONFIG, lambda text: f"{text}\nBogus yes\n"):
        before = footprint(host)
        ran = bare.run("up")
        assert ran.code == 1, tail(ran)
        assert "sshd's configuration is broken" in ran.end("gateway")["reason"]
        assert "Bogus" in ran.end("gateway")["reason"]
        assert differences(before, footprint(host)) == ""
        assert_admin_logs_in(bare.lab)
    assert loads(host) == loaded
    for worker in bare.lab.worker_hosts:
        assert "the gateway host is not ready" in ran.end(worker.name)["reason"]
        assert ran.summary[worker.name]["changed"] == 0


def test_a_drop_in_that_would_break_sshd_is_never_in_place(bare: Driver, tmp_path: Path) -> None:
    host = bare.lab.gateway
    loaded = loads(host)
    (tmp_path / "sshd-tunnel.conf.j2").write_text("Match User b9tunnel\n    Port 2222\n")
    ran = gateway(bare, "prepare", bare.inventory(), "--templates", str(tmp_path))
    assert ran.code == 1, tail(ran)
    assert "not allowed within a Match block" in ran.text
    assert not host.path(DROP_IN).exists()
    assert loads(host) == loaded
    assert_admin_logs_in(bare.lab)
    bare.lab.reset(host)
    bare.lab.wait_gateway()


@pytest.mark.parametrize("line", ["AllowUsers root admin", "DenyGroups b9*"])
def test_an_administrators_own_list_is_told_and_kept(bare: Driver, line: str) -> None:
    host = bare.lab.gateway
    with edited(host, CONFIG, lambda text: f"{line}\n{text}"):
        ran = gateway(bare, "prepare", bare.inventory())
        assert ran.code == 1, tail(ran)
        name, _, value = line.partition(" ")
        assert f"keeps b9tunnel out: {name} is {value}" in ran.end("gateway")["reason"]
        assert host.path(CONFIG).read_text().startswith(f"{line}\n")
        assert not host.path(DROP_IN).exists()


def test_a_main_configuration_without_drop_ins_gets_only_ours(bare: Driver) -> None:
    """Another file that lies there unread must not come into force."""
    host = bare.lab.gateway
    host.path("/etc/ssh/sshd_config.d/99-old.conf").write_text("DenyUsers admin\n")
    without = re.sub(r"(?m)^Include .*\n", "", host.path(CONFIG).read_text())
    host.path(CONFIG).write_text(without)
    ran = gateway(bare, "prepare", bare.inventory())
    assert ran.code == 0, tail(ran)
    assert host.path(CONFIG).read_text() == f"Include {DROP_IN}\n{without}"
    assert_admin_logs_in(bare.lab)
    assert gateway(bare, "prepare", bare.inventory()).changed() == {"gateway": 0}
    bare.lab.reset(host)
    bare.lab.wait_gateway()


def test_an_administrator_does_what_is_printed(bare: Driver) -> None:
    lab, inventory = bare.lab, bare.inventory(unmanaged)
    before = footprint(lab.gateway)
    ran = bare.run("up", inventory=inventory)
    assert ran.code == 1, tail(ran)
    reason = ran.end("gateway")["reason"]
    assert "there is no user b9tunnel" in reason and "b9prov-free.socket is not active" in reason
    assert differences(before, footprint(lab.gateway)) == ""
    assert all(ran.summary[worker.name]["changed"] == 0 for worker in lab.worker_hosts)

    (printed,) = ran.of("task_finished", host="gateway", module="debug")
    commands = b9prov(bare, "gateway", "commands", str(inventory)).stdout
    assert printed["result"]["msg"].strip() == commands.strip()
    sh(lab.gateway, commands)
    assert b9prov(bare, "gateway", "commands", str(inventory)).stdout == ""
    bare.up(inventory=inventory)
    for worker in lab.worker_hosts:
        wait_ready(lab, worker)
    # b9prov itself would have done the same
    again = gateway(bare, "prepare", bare.inventory())
    assert again.changed() == {"gateway": 0}, again.out


# -- workers and their places


@pytest.fixture
def served(bare: Driver) -> Driver:
    """The workers are ready, and are left so."""
    for worker in bare.lab.worker_hosts:
        wait_ready(bare.lab, worker)
    return bare


def test_all_that_an_administrator_left_out_is_found_at_once(served: Driver) -> None:
    host, inventory = served.lab.gateway, served.inventory(unmanaged)
    spoilt = {
        "usermod --shell /bin/sh b9tunnel": "the shell of b9tunnel is /bin/sh",
        "chmod 0777 /etc/b9prov": "/etc/b9prov has mode 0777",
        "systemctl disable --now b9prov-free.socket": "unit b9prov-free.socket is not enabled",
        "echo '#' >>/etc/b9prov/tunnel-shell": "tunnel-shell is not as b9prov writes it",
        f"echo '#' >>{DROP_IN}": f"{DROP_IN} is not as b9prov writes it",
    }
    sh(host, "; ".join(spoilt))
    ran = gateway(served, "prepare", inventory)
    assert ran.code == 1, tail(ran)
    assert [said for said in spoilt.values() if said not in ran.end("gateway")["reason"]] == []
    sh(host, b9prov(served, "gateway", "commands", str(inventory)).stdout)
    block = "Match User b9tunnel\nAllowTcpForwarding no\nMatch all\n"
    with edited(host, CONFIG, lambda text: block + text):
        overruled = b9prov(served, "gateway", "commands", str(inventory)).stdout
    assert overruled.startswith("# sshd has for b9tunnel allowtcpforwarding no, not yes")
    assert b9prov(served, "gateway", "commands", str(inventory)).stdout == ""


def listed(driver: Driver) -> dict[str, Json]:
    ran = gateway(driver, "workers", driver.inventory())
    assert ran.code == 0, tail(ran)
    return {row["name"]: row for row in json.loads(ran.out)["workers"]}


def test_the_list_of_workers(served: Driver) -> None:
    lab, rows = served.lab, listed(served)
    assert sorted(rows) == [worker.name for worker in lab.worker_hosts]
    for worker in lab.worker_hosts:
        row = rows[worker.name]
        key = sh(worker, "ssh-keygen -l -f /etc/b9prov/tunnel/id_ed25519.pub").split()[1]
        assert (row["key"], row["address"]) == (key, reverse_address(worker))
        assert (row["state"], row["listening"]) == ("ok", True)
        assert time.time() - 600 < row["created"] < time.time()
        # both are known to the second
        assert row["created"] - 2 < row["since"] < time.time()
        assert "@" in row["owner"]
    shown = b9prov(served, "gateway", "workers", str(served.inventory()))
    assert shown.stdout.split()[:4] == ["NAME", "ADDRESS", "STATE", "LISTENING"]


def test_a_worker_that_is_down_was_last_seen_when_its_session_ended(served: Driver) -> None:
    worker = served.lab.host("w3")
    sh(worker, "systemctl stop b9-tunnel")
    stopped = time.time()
    try:
        row = wait_until(
            lambda: [r for r in [listed(served)["w3"]] if not r["listening"]], 10, "w3"
        )
        assert row[0]["since"] is None
        assert abs(row[0]["last_seen"] - stopped) < 5
    finally:
        sh(worker, "systemctl start b9-tunnel")


def test_a_revoked_worker_is_cut_off_and_the_others_are_not(served: Driver) -> None:
    lab, worker = served.lab, served.lab.host("w1")
    # a session that listens nowhere, with the worker's own key, as a thief would have it
    forward = (
        "ssh -N -F none -i /etc/b9prov/tunnel/id_ed25519 -o UserKnownHostsFile="
        "/etc/b9prov/tunnel/known_hosts -L 127.0.0.1:7777:localhost:31994"
        f" b9tunnel@{lab.gateway.address}"
    )
    sh(worker, f"systemd-run -q --unit thief {forward}")
    reach = "curl -s -m 2 http://127.0.0.1:7777/api/v1/health"
    wait_until(lambda: worker.exec(["sh", "-c", reach]).stdout, 10, "the second session")
    since = {name: row["since"] for name, row in listed(served).items()}

    ran = gateway(served, "revoke", served.inventory(), "w1", "--yes")
    assert ran.code == 0, tail(ran)
    assert not k3s_answers(lab, worker)
    assert worker.exec(["sh", "-c", reach]).stdout == ""
    assert sh(worker, "systemctl is-active thief || true") != "active"
    rows = listed(served)
    assert (rows["w1"]["state"], rows["w1"]["listening"]) == ("revoked", False)
    assert {name: rows[name]["since"] for name in ("w2", "w3")} == {
        name: since[name] for name in ("w2", "w3")
    }
    assert len(key_lines(lab)) == 2

    refused = served.run("up", "--limit", "w1")
    assert refused.code == 1
    assert "worker w1 was revoked on" in refused.end("w1")["reason"]
    assert "gateway restore" in refused.end("w1")["advice"]
    unknown = gateway(served, "revoke", served.inventory(), "w9", "--yes")
    assert unknown.code == 1 and "no worker w9" in unknown.text

    ran = gateway(served, "restore", served.inventory(), "w1", "--yes")
    assert ran.code == 0, tail(ran)
    wait_ready(lab, worker)
    assert served.up("--limit", "w1").changed() == {"w1": 0, "gateway": 0}


def test_nobody_is_cut_off_without_a_yes(served: Driver) -> None:
    ran = gateway(served, "revoke", served.inventory(), "w1")
    assert (ran.code, ran.out) == (2, "")
    assert "--yes" in ran.err
    assert k3s_answers(served.lab, served.lab.host("w1"))


@contextmanager
def gaps(lab: Lab, worker: Host) -> Iterator[list[float]]:
    """Asks the worker's k3s through its reverse address all the time; the seconds between two
    answers."""
    found: list[float] = []
    address, ended = reverse_address(worker), threading.Event()
    once = f"curl -sk -m 1 -o /dev/null https://{address}:6443/version && date +%s.%N; true"

    def loop() -> None:
        before = float(sh(lab.gateway, once))
        while not ended.is_set():
            if said := sh(lab.gateway, once):
                found.append(float(said) - before)
                before = float(said)

    thread = threading.Thread(target=loop, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        ended.set()
        thread.join(10)


def test_keys_are_renewed_while_the_worker_serves(served: Driver) -> None:
    lab, worker = served.lab, served.lab.host("w2")
    before = {name: row["key"] for name, row in listed(served).items()}
    with gaps(lab, worker) as found:
        ran = gateway(served, "rotate-keys", served.inventory(), "all")
        assert ran.code == 0, tail(ran)
        count = len(found)
        wait_until(lambda: len(found) > count + 1, 10, "further answers")
    assert max(found) < BACK_SECONDS, max(found)
    print(f"the longest silence was {max(found):.2f} s")
    after = {name: row["key"] for name, row in listed(served).items()}
    assert all(before[name] != after[name] for name in before)
    assert len(key_lines(lab)) == 3
    left = sh(worker, "ls /etc/b9prov/tunnel")
    assert left.split() == ["id_ed25519", "id_ed25519.pub", "known_hosts"]
    assert set(served.up().changed().values()) == {0}


@pytest.mark.parametrize("task", ["a new key beside it", "the new one takes the old one's place"])
def test_a_rotation_that_was_killed_is_finished_by_the_next(served: Driver, task: str) -> None:
    lab, worker = served.lab, served.lab.host("w3")
    inventory = served.inventory()
    before = listed(served)["w3"]["key"]
    program = str(Path(sys.executable).with_name("b9prov"))
    words = ("gateway", "rotate-keys", str(inventory), "w3", "--output", "json")
    run = Running([program, *words], served.env)
    run.wait_for("task_finished", host="w3", task=task)
    run.kill()
    assert gateway(served, "rotate-keys", inventory, "w3").code == 0
    wait_ready(lab, worker)
    assert listed(served)["w3"]["key"] != before
    assert len(key_lines(lab)) == 3
    assert served.up("--limit", "w3").changed() == {"w3": 0, "gateway": 0}


def test_both_audit_logs_say_who_did_what(served: Driver) -> None:
    done = b9prov(served, "audit", str(served.inventory()), "--worker", "w1", "--output", "json")
    assert done.returncode == 0, done.stderr
    entries = json.loads(done.stdout)["entries"]
    at_gateway = [each for each in entries if each["where"] == "gateway"]
    assert {"slot given", "revoked", "restored", "key changed"} <= {e["action"] for e in at_gateway}
    assert all(each["worker"] == "w1" and "@" in each["by"] for each in at_gateway)
    assert {each["login"] for each in at_gateway} == {"admin"}
    own = [each for each in entries if each["where"] == "controller"]
    assert any("gateway revoke" in each["command"] for each in own)
    assert {each["result"] for each in own} >= {"well", "failed"}
    later = b9prov(served, "audit", "--since", "1s", "--output", "json")
    assert json.loads(later.stdout)["entries"] == []
    mode = sh(served.lab.gateway, f"stat -c '%a %U' {LOG}")
    assert mode == "640 root"


def test_no_secret_is_in_an_audit_log(served: Driver) -> None:
    secrets = secrets_of(served.lab)
    for text in (
        served.lab.gateway.path(LOG).read_text(),
        (served.state / "audit.jsonl").read_text(),
    ):
        assert text and leaks(text, secrets) == set()


def test_what_a_dead_session_held_is_noted(served: Driver) -> None:
    lab, worker = served.lab, served.lab.host("w2")
    address = reverse_address(worker)
    shown = sh(lab.gateway, f"ss -Hltnp src {address}:6443")
    (session,) = re.findall(r"pid=(\d+)", shown)
    sh(lab.gateway, f"kill -STOP {session}")
    log = lab.gateway.path(LOG)

    def freed() -> list[Json]:
        entries = [json.loads(line) for line in log.read_text().splitlines()]
        return [e for e in entries if (e["action"], e["worker"]) == ("listener freed", "w2")]

    wait_until(freed, 40, "the listener's end in the audit log")
    wait_ready(lab, worker)
