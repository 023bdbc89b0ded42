"""`b9prov nettest` with the real iperf3: to workers, to the gateway host, through the tunnel."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from driver import Driver, Json, Ran
from looks import sh

from provisioner.lab import Host

QUICK = ("--seconds", "1", "--streams", "2")
PORT = 5201


def nettest(driver: Driver, *words: str) -> tuple[Ran, dict[tuple[str, str], Json]]:
    """The run and its rows by their ends."""
    ran = driver.run("nettest", *QUICK, "--output", "json", *words)
    rows = json.loads(ran.out)["directions"] if ran.code in (0, 1) else []
    return ran, {(row["from"], row["to"]): row for row in rows}


def servers(driver: Driver) -> list[str]:
    """The hosts where an iperf3 runs."""
    hosts = (driver.lab.gateway, *driver.lab.worker_hosts)
    return [each.name for each in hosts if sh(each, "pgrep -x iperf3 || true")]


@contextmanager
def closed(host: Host) -> Iterator[None]:
    """A packet filter that lets nobody in at iperf3's port."""
    chain = "type filter hook input priority 0;"
    table = f"table inet closed {{ chain in {{ {chain} tcp dport {PORT} iif != lo reject; }}; }}"
    sh(host, f"echo {shlex.quote(table)} | nft -f -")
    try:
        yield
    finally:
        sh(host, "nft delete table inet closed")


def test_each_direction_is_measured_and_nothing_stays(ready: Driver) -> None:
    ran, rows = nettest(ready, "-e", '{"network": {"min_gbps": 0.01}}')
    assert ran.code == 0, ran.text
    names = [worker.name for worker in ready.lab.worker_hosts]
    ring = list(zip(names, [*names[1:], names[0]], strict=True))
    ends = [*ring, *((name, "gateway") for name in names)]
    assert set(rows) == {*ends, *((b, a) for a, b in ends)}
    for row in rows.values():
        assert row["ok"] and row["gbps"] > 0.01 and row["way"] == "direct", row
    assert servers(ready) == []


def test_too_slow_is_said_with_what_to_do(ready: Driver) -> None:
    ran, rows = nettest(ready, "--limit", "w1,w2", "-e", '{"network": {"min_gbps": 9000}}')
    assert ran.code == 1
    assert all(not row["ok"] and row["fix"] for row in rows.values())
    assert "9000" in rows["w1", "w2"]["reason"] and set(rows) >= {("w2", "w1"), ("w1", "gateway")}


def test_where_nothing_else_is_open_the_tunnels_way_is_measured(ready: Driver) -> None:
    lines = ready.lab.gateway.path("/etc/b9prov/authorized_keys")
    before = lines.read_text()
    report = ready.home / "report.html"
    low = '{"network": {"min_gbps": 0.001}}'
    with closed(ready.lab.gateway):
        ran, rows = nettest(ready, "--limit", "w1", "-e", low, "--report", str(report))
    assert ran.code == 0, ran.text
    page = report.read_text("utf-8")
    assert "<h1>2 of 2 directions fast enough" in page and page.count("<td>tunnel</td>") == 2
    assert {row["way"] for row in rows.values()} == {"tunnel"} and len(rows) == 2
    assert sorted(lines.read_text().splitlines()) == sorted(before.splitlines())
    assert servers(ready) == []
    assert sum(ready.up().changed().values()) == 0


def test_a_closed_worker_and_a_taken_port_are_told_apart(ready: Driver) -> None:
    other = ready.lab.host("w2")
    with closed(other):
        ran, rows = nettest(ready, "--limit", "w1,w2", "-e", '{"network": {"min_gbps": 0.001}}')
    assert ran.code == 1
    assert "refused" in rows["w1", "w2"]["reason"] and "let w1 connect" in rows["w1", "w2"]["fix"]
    assert rows["w1", "gateway"]["ok"]
    sh(other, f"systemd-run -q --unit=other-iperf3 --collect iperf3 -s -p {PORT}")
    try:
        ran, rows = nettest(ready, "--limit", "w1,w2", "-e", '{"network": {"min_gbps": 0.001}}')
    finally:
        sh(other, "systemctl stop other-iperf3")
    assert f"port {PORT} is taken by iperf3" in rows["w1", "w2"]["reason"]


def test_a_server_that_runs_anyway(ready: Driver) -> None:
    other = ready.lab.host("w3")
    sh(other, "systemd-run -q --unit=cache-iperf3 --collect iperf3 -s -p 5301")
    end = f"{other.address}:5301"
    try:
        _, rows = nettest(
            ready, "--limit", "w1", "--to", end, "-e", '{"network": {"min_gbps": 0.001}}'
        )
    finally:
        sh(other, "systemctl stop cache-iperf3")
    assert rows["w1", end]["ok"] and rows[end, "w1"]["ok"]


@pytest.mark.parametrize(("wanted", "code"), [(0.001, 0), (9000, 1)])
def test_as_a_gate_of_up(ready: Driver, wanted: float, code: int) -> None:
    extra = json.dumps({"network": {"gate": True, "min_gbps": wanted}, "nettest_seconds": 1})
    ran = ready.run("up", "--limit", "w1", "-e", extra)
    assert ran.code == code, ran.text
    if code:
        assert "Gbit/s where 9000" in ran.text
    assert servers(ready) == []
