"""`b9prov doctor` on hosts into which faults are put, one after the other: it names each first, and
heals by itself those that it says it can."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Json, Ran, tail, wait_until
from looks import AGENT_CONFIG, KEYS, delete_machine, is_ready, machine_id, reverse_address

from provisioner.lab import Host

STATE = "/var/lib/reference-gateway/state.json"
DROP_IN = "/run/systemd/system/reference-gateway.service.d/fault.conf"
PROGRAM = "/usr/bin/python3 /opt/reference-gateway/reference_gateway.py"
KNOWN_HOSTS = "/etc/b9prov/tunnel/known_hosts"
PYZ = "/usr/local/lib/b9agent/b9agent.pyz"
UNITS = "b9-tunnel.service b9agent.service"
BACK_SECONDS = 30.0
CLOCK = """\
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
int clock_gettime(clockid_t which, struct timespec *now) {
    int (*real)(clockid_t, struct timespec *) = dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(which, now);
    if (which == CLOCK_REALTIME) now->tv_sec += 7200;
    return result;
}
"""
# Beta9's own log, as an administrator's kubectl shows it; what else is asked, it does not know.
KUBECTL = """\
#!/bin/sh
# a stand-in of kubectl
case "$*" in
  *logs*) echo 'ERR failed to add worker error="provider not implemented" pool_name=gpu' ;;
esac
"""


def sh(host: Host, script: str) -> str:
    done = host.exec(["sh", "-euc", script])
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def doctor(ready: Driver, *words: str, edit: Callable[[Json], Any] = lambda data: None) -> Ran:
    return ready.run("doctor", *words, inventory=ready.inventory(edit))


def found(ran: Ran) -> list[Json]:
    findings: list[Json] = json.loads(ran.out)["findings"]
    return findings


def settled(ready: Driver) -> None:
    """All is as the fleet was."""
    w1 = ready.lab.host("w1")
    wait_until(lambda: is_ready(ready.lab, w1), BACK_SECONDS, "w1 is ready again")


# -- the faults, each for the length of a block

Fault = Callable[[Driver], AbstractContextManager[None]]


def given(inject: str, heal: str = "", on: str = "w1") -> Fault:
    """A fault by commands on a host; with none that heal it, doctor has to."""

    @contextmanager
    def fault(ready: Driver) -> Iterator[None]:
        host = ready.lab.host(on)
        sh(host, inject)
        try:
            yield
        finally:
            sh(host, heal or ":")

    return fault


@contextmanager
def none(ready: Driver) -> Iterator[None]:
    """The fault is in the inventory."""
    yield


def rewritten(path: str, edit: Callable[[str], str], restart: str, on: str = "w1") -> Fault:
    """A file of a host that is otherwise, and the unit that reads it started anew."""

    @contextmanager
    def fault(ready: Driver) -> Iterator[None]:
        host = ready.lab.host(on)
        file = host.path(path)
        before = file.read_bytes()
        file.write_bytes(edit(before.decode("latin-1")).encode("latin-1"))
        sh(host, f"systemctl restart --no-block {restart}")
        try:
            yield
        finally:
            file.write_bytes(before)
            sh(host, f"systemctl reset-failed {restart}; systemctl restart {restart}")

    return fault


def in_config(place: str, value: Callable[[Driver], str]) -> Fault:
    """A setting of the agent with another value; `place` is `key` or `section.key`."""
    section, _, key = place.rpartition(".")
    before = rf"^{section}:\n(?:  .*\n)*?  " if section else "^"

    @contextmanager
    def fault(ready: Driver) -> Iterator[None]:
        def edit(text: str) -> str:
            changed, times = re.subn(
                rf"(?m)({before}{key}: ).*$", lambda m: m[1] + value(ready), text, count=1
            )
            assert times == 1, place
            return changed

        with rewritten(AGENT_CONFIG, edit, "b9agent")(ready):
            yield

    return fault


def said(unit: str, words: str, inner: Fault) -> Fault:
    """A fault that is there once a unit's journal has these words."""

    @contextmanager
    def fault(ready: Driver) -> Iterator[None]:
        host, begun = ready.lab.host("w1"), int(time.time())
        with inner(ready):
            look = (
                f"journalctl -q -u {unit} -o cat --since=@{begun} | grep -m 1 -e '{words}' || true"
            )
            wait_until(lambda: sh(host, look).strip(), 15, f"{unit} says {words!r}")
            yield

    return fault


@contextmanager
def key_taken_out(ready: Driver) -> Iterator[None]:
    keys = ready.lab.gateway.path(KEYS)
    before = keys.read_text()
    keys.write_text("".join(x for x in before.splitlines(True) if not x.endswith(":w1\n")))
    sh(ready.lab.host("w1"), "systemctl restart b9-tunnel")
    try:
        yield
    finally:
        ready.up("--limit", "w1")
        sh(ready.lab.host("w1"), "systemctl restart b9-tunnel")  # or it pauses between two tries


@contextmanager
def cut_off(ready: Driver) -> Iterator[None]:
    def gateway(what: str, *words: str) -> None:
        program = str(Path(sys.executable).with_name("b9prov"))
        command = [program, "gateway", what, str(ready.inventory()), "w1", *words]
        subprocess.run(command, env=ready.env, check=True, capture_output=True, timeout=60)

    gateway("revoke", "--yes")
    try:
        yield
    finally:
        gateway("restore", "--yes")
        sh(ready.lab.host("w1"), "systemctl restart b9-tunnel")


@contextmanager
def address_off(ready: Driver) -> Iterator[None]:
    address = reverse_address(ready.lab.host("w1"))
    with given(f"ip address del {address}/32 dev lo", on="gateway")(ready):
        yield


@contextmanager
def no_way_there(ready: Driver) -> Iterator[None]:
    route = f"unreachable {ready.lab.gateway.address}/32"
    inject = f"ip route add {route}; systemctl restart b9-tunnel"
    with given(inject, f"ip route del {route}; systemctl restart b9-tunnel")(ready):
        yield


@contextmanager
def k3s_token_void(ready: Driver) -> Iterator[None]:
    worker = ready.lab.host("w1")
    with in_config("k3s.token", unknown_token)(ready):
        look = "grep -q 'k3s: ' /run/b9agent/state.json && echo yes || true"
        wait_until(lambda: sh(worker, look), 20, "the agent has met the refusal")
        yield


@contextmanager
def port_taken(ready: Driver) -> Iterator[None]:
    worker = ready.lab.host("w1")
    serve = "systemd-run -q --unit=squatter python3 -m http.server --bind 127.0.0.1 1994"
    sh(worker, f"systemctl stop b9-tunnel; {serve}")
    wait_until(lambda: sh(worker, "ss -Hltn sport = :1994").strip(), 10, "somebody listens")
    sh(worker, "systemctl start b9-tunnel")
    try:
        yield
    finally:
        sh(worker, "systemctl stop squatter; systemctl restart b9-tunnel")


@contextmanager
def record_deleted(ready: Driver) -> Iterator[None]:
    """Between two keepalives, which are a minute apart."""
    worker = ready.lab.host("w1")
    with in_config("keepalive_interval", lambda _: "60")(ready):
        begun = time.time()
        sh(worker, "systemctl restart b9agent")

        def is_ready_anew() -> bool:
            state = json.loads(sh(worker, "cat /run/b9agent/state.json || echo {}") or "{}")
            return bool(state.get("state") == "ready" and state["since"] >= begun)

        wait_until(is_ready_anew, BACK_SECONDS, "the agent is ready anew")
        delete_machine(ready.lab, machine_id(worker))
        yield


def gateway_with(option: str) -> Fault:
    """A gateway with a further option."""

    @contextmanager
    def fault(ready: Driver) -> Iterator[None]:
        host = ready.lab.gateway
        command = (
            "systemctl show -P ExecStart reference-gateway | sed 's/.*argv\\[\\]=//; s/ ;.*//'"
        )
        again = "systemctl daemon-reload; systemctl restart reference-gateway"
        text = f'"[Service]\\nExecStart=\\nExecStart=%s {option}\\n" "$({command})"'
        sh(host, f"mkdir -p {Path(DROP_IN).parent}; printf {text} >{DROP_IN}; {again}")
        ready.lab.wait_gateway()
        try:
            yield
        finally:
            sh(host, f"rm {DROP_IN}; {again}")
            ready.lab.wait_gateway()

    return fault


@contextmanager
def tailnet_only(ready: Driver) -> Iterator[None]:
    worker = ready.lab.host("w1")
    with gateway_with("--tailnet tail.example")(ready):
        sh(worker, "systemctl restart b9agent")
        look = "grep -q 'no configuration' /run/b9agent/state.json && echo yes || true"
        wait_until(lambda: sh(worker, look), 15, "the agent has registered")
        yield
    sh(worker, "systemctl restart b9agent")


@contextmanager
def clock_off(ready: Driver) -> Iterator[None]:
    """Every program that is started there from now on lives two hours later."""
    worker = ready.lab.host("w1")
    library = worker.path("/usr/local/lib/clock-off.so")
    command = ["cc", "-shared", "-fPIC", "-O1", "-x", "c", "-", "-o", str(library), "-ldl"]
    subprocess.run(command, input=CLOCK, text=True, check=True)
    preload = worker.path("/etc/ld.so.preload")
    preload.write_text("/usr/local/lib/clock-off.so\n")
    try:
        yield
    finally:
        preload.unlink()
        library.unlink()


@contextmanager
def host_off(ready: Driver) -> Iterator[None]:
    worker = ready.lab.host("w1")
    worker.kill()
    try:
        yield
    finally:
        worker.start()


@contextmanager
def way_back_closed(ready: Driver) -> Iterator[None]:
    address = reverse_address(ready.lab.host("w1"))
    rules = f"add rule ip fault out ip daddr {address} tcp dport 6443 drop"
    chain = "add chain ip fault out { type filter hook output priority 0; }"
    script = f"nft add table ip fault; nft '{chain}'; nft '{rules}'"
    with given(script, "nft delete table ip fault", on="gateway")(ready):
        yield


def of_w1(**settings: Any) -> Callable[[Json], Any]:
    return lambda data: data["hosts"]["w1"].update(settings)


def of_gateway(**settings: Any) -> Callable[[Json], Any]:
    return lambda data: data["gateway"].update(settings)


def unknown_token(ready: Driver) -> str:
    return '"' + "x" * 86 + '=="'


def admin_token(ready: Driver) -> str:
    return json.dumps(ready.lab.admin_token_path.read_text().strip())


@dataclass(frozen=True)
class Case:
    """A fault, the code that is to be named first, and whether doctor is to heal it."""

    code: str
    fault: Fault = none
    edit: Callable[[Json], Any] = lambda data: None
    at: str = "w1"
    heals: bool = False


CASES = {
    "host off": Case("B9-SSH-DOWN", host_off, of_w1(connect_timeout=2)),
    "tunnel stopped": Case("B9-TUNNEL-DOWN", given("systemctl stop b9-tunnel"), heals=True),
    "tunnel's key taken out": Case(
        "B9-TUNNEL-KEY", said("b9-tunnel", "Permission denied", key_taken_out)
    ),
    "tunnel cut off": Case("B9-TUNNEL-REVOKED", cut_off),
    "gateway host's key changed": Case(
        "B9-TUNNEL-HOSTKEY",
        said(
            "b9-tunnel",
            "Host key verification failed",
            rewritten(KNOWN_HOSTS, lambda text: text[:-30] + text[-30:].swapcase(), "b9-tunnel"),
        ),
    ),
    "no way to the gateway host": Case(
        "B9-TUNNEL-PATH",
        said("b9-tunnel", "No route to host", no_way_there),
    ),
    "address taken off": Case("B9-TUNNEL-ADDRESS", address_off, heals=True),
    "port taken": Case("B9-PORT", said("b9-tunnel", "in use", port_taken)),
    "way back closed": Case("B9-TUNNEL-BACK", way_back_closed),
    "wrong NodePort": Case("B9-GATEWAY-PORT", edit=of_gateway(api="localhost:31995"), at="gateway"),
    "gateway down": Case(
        "B9-GATEWAY-DOWN",
        given(
            "systemctl stop reference-gateway", "systemctl start reference-gateway", on="gateway"
        ),
        at="gateway",
    ),
    "gateway without Redis": Case(
        "B9-GATEWAY-SICK",
        given(f"mkdir {STATE}.new", f"rmdir {STATE}.new", "gateway"),
        at="gateway",
    ),
    "gateway host not as it was": Case(
        "B9-GATEWAY-HOST",
        given("systemctl stop b9prov-free.socket", on="gateway"),
        at="gateway",
        heals=True,
    ),
    "gateway with Tailscale alone": Case("B9-GATEWAY-TSNET", tailnet_only),
    "wrong admin token": Case(
        "B9-ADMIN-TOKEN", edit=of_gateway(admin_token="no-such-token"), at="gateway"
    ),
    "unknown pool": Case("B9-POOL-UNKNOWN", edit=of_w1(pool="gpus"), at="gateway"),
    "unknown machine token": Case(
        "B9-TOKEN-UNKNOWN", said("b9agent", "HTTP 401", in_config("machine.token", unknown_token))
    ),
    "an administrator's token": Case(
        "B9-TOKEN-KIND", said("b9agent", "HTTP 403", in_config("machine.token", admin_token))
    ),
    "record deleted": Case("B9-EXPIRED", record_deleted, heals=True),
    "agent stopped": Case("B9-AGENT-DOWN", given("systemctl stop b9agent"), heals=True),
    "agent damaged": Case(
        "B9-AGENT-CRASH",
        said("b9agent", "Error", rewritten(PYZ, lambda text: text[: len(text) // 2], "b9agent")),
    ),
    "agent's settings broken": Case(
        "B9-AGENT-CONFIG",
        said("b9agent", "status=2", in_config("keepalive_interval", lambda _: "no")),
    ),
    "token of k3s void": Case("B9-K3S-TOKEN", k3s_token_void),
    "taken away": Case(
        "B9-NOT-INSTALLED",
        given(
            f"systemctl stop {UNITS}; mkdir /var/away; cd /etc/systemd/system;"
            f" mv {UNITS} /var/away; systemctl daemon-reload",
            "mv /var/away/* /etc/systemd/system; rmdir /var/away; systemctl daemon-reload;"
            f" systemctl start {UNITS}",
        ),
    ),
    "k3s stopped": Case("B9-K3S-DOWN", given("systemctl stop k3s"), heals=True),
    "Ollama stopped": Case("B9-OLLAMA-DOWN", given("systemctl stop ollama"), heals=True),
    "disk full": Case(
        "B9-DISK",
        given(
            "mount -t tmpfs -o size=32m tmpfs /usr/share/ollama;"
            " head -c 40000000 /dev/zero >/usr/share/ollama/blob 2>/dev/null || true",
            "umount /usr/share/ollama",
        ),
    ),
    "clock off": Case("B9-CLOCK", clock_off),
    "GPU not seen": Case("B9-GPU", edit=of_w1(gpu=True)),
    "another host key": Case(
        "B9-SSH-KEY", edit=lambda data: of_w1(host_key=data["hosts"]["w2"]["host_key"])(data)
    ),
    "sudo wants a password": Case(
        "B9-SUDO",
        given("mv /etc/sudoers.d/90-admin /var", "mv /var/90-admin /etc/sudoers.d"),
    ),
}


def test_nothing_is_found_where_nothing_is_wrong(ready: Driver) -> None:
    ran = doctor(ready)
    assert (ran.code, found(ran)) == (0, []), tail(ran)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_is_named_first(ready: Driver, name: str) -> None:
    case = CASES[name]
    with case.fault(ready):
        if case.heals:
            ran = doctor(ready, "w1", "--fix", edit=case.edit)
            assert (ran.code, found(ran)) == (0, []), tail(ran)
            first, *rest = json.loads(ran.out)["mended"]  # all causes that there were, in order
        else:
            ran = doctor(ready, "w1", edit=case.edit)
            assert ran.code == 1, tail(ran)
            first, *rest = found(ran)
        assert (first["host"], first["code"]) == (case.at, case.code), tail(ran)
        assert first["follows"] is None and first["evidence"] and first["fix"], first
        assert all(each["follows"] for each in rest if each["severity"] == "error"), tail(ran)
    settled(ready)


def test_what_is_harmless_is_a_note(ready: Driver) -> None:
    kubectl = ready.lab.gateway.path("/usr/local/bin/kubectl")
    kubectl.write_text(KUBECTL)
    kubectl.chmod(0o755)
    try:
        ran = doctor(ready, "w1")
    finally:
        kubectl.unlink()
    assert ran.code == 0, tail(ran)
    (note,) = found(ran)
    assert (note["code"], note["severity"]) == ("B9-PROVIDER", "note")
    assert "provider not implemented" in note["evidence"][0]


def test_a_gateway_host_that_is_off_leaves_the_workers_to_be_asked(ready: Driver) -> None:
    ready.lab.gateway.kill()
    try:
        ran = doctor(ready, "w1", edit=lambda data: data["gateway"].update(connect_timeout=3))
        first, *rest = found(ran)
        assert (first["host"], first["code"]) == ("gateway", "B9-SSH-DOWN"), tail(ran)
        assert rest and all(each["code"].startswith("B9-TUNNEL-") for each in rest), tail(ran)
        assert all(each["follows"] == {"host": "gateway", "code": "B9-SSH-DOWN"} for each in rest)
    finally:
        ready.lab.gateway.start()
        ready.lab.wait_gateway()
        sh(ready.lab.host("w1"), "systemctl restart b9-tunnel")
    settled(ready)


def test_people_see_what_would_be_done_and_what_was(ready: Driver) -> None:
    worker = ready.lab.host("w1")
    sh(worker, "systemctl stop ollama")
    shown = doctor(ready, "w1", "--fix", "--check", "--output", "plain")
    assert shown.code == 1
    assert "systemctl restart ollama: would be given" in shown.out
    assert sh(worker, "systemctl is-active ollama || true") == "inactive\n"
    done = doctor(ready, "w1", "--fix", "--output", "plain")
    assert done.code == 0, tail(done)
    assert "mended: w1: Ollama does not run [B9-OLLAMA-DOWN]" in done.out
    assert "nothing is wrong with 1 worker and the gateway" in done.out
