"""A gateway with a second host, which is taken while the first is away."""

from __future__ import annotations

import json
import time

from driver import Driver, Json, wait_until
from looks import sh

from provisioner.lab import Host, Lab

STANDBY = "gateway@second"


def test_a_second_gateway_host_is_taken_while_the_first_is_away(
    fresh_lab: Lab, driver: Driver
) -> None:
    lab = fresh_lab
    first, worker, second = lab.gateway, lab.host("w1"), lab.host("w3")

    def edit(data: Json) -> None:
        standby = {"host": second.address, "host_key": second.host_key}
        data["gateway"] |= {"api": f"{first.address}:31994", "standby": {"second": standby}}
        data["hosts"] = {"w1": data["hosts"]["w1"]}

    inventory = driver.inventory(edit)
    driver.up(inventory=inventory)
    assert driver.up(inventory=inventory).changed() == {"w1": 0, "gateway": 0, STANDBY: 0}
    (row,) = json.loads(driver.run("status", inventory=inventory).out)["hosts"]
    assert (row["ready"], row["tunnel"]) == (True, "up")
    listener = f"ss -Hltn src {row['address']}:6443"

    since = time.time()
    sh(first, "systemctl stop ssh; pkill -KILL -u b9tunnel")
    try:
        wait_until(lambda: sh(second, listener), 30, "the listener on the second host")
        wait_until(lambda: keepalive(worker) > since, 30, "a keepalive through it")
    finally:
        sh(first, "systemctl start ssh")
    (row,) = json.loads(driver.run("status", inventory=inventory).out)["hosts"]
    assert (row["ready"], row["tunnel"]) == (True, "up, at second")

    sh(second, "pkill -KILL -u b9tunnel")
    wait_until(lambda: sh(first, listener), 30, "the listener on the first host again")

    assert driver.run("down", "--yes", inventory=inventory).code == 0
    for host in (first, second):
        assert host.exec(["id", "b9tunnel"]).returncode
        assert not host.path("/etc/ssh/sshd_config.d/50-b9prov.conf").exists()


def keepalive(worker: Host) -> float:
    return float(json.loads(sh(worker, "b9agent status --json"))["last_keepalive"] or 0)
