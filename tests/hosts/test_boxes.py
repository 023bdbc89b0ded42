"""Rented machines: stand-ins of the providers' APIs, whose machines are hosts of the lab."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, wait_until

from provisioner.lab import Host, Lab
from provisioner.lab.standins.clouds import crusoe_stand_in as crusoe
from provisioner.lab.standins.clouds.cloud_stand_in import CloudStandIn, Machine
from provisioner.lab.standins.clouds.lambda_stand_in import API_KEY, LambdaStandIn
from provisioner.lab.standins.clouds.power import LabPower

KINDS = {"lambda": ("gpu_1x_a10", "us-east-1"), "crusoe": ("a100-80gb.1x", crusoe.LOCATION)}
CREDENTIALS = {
    "LAMBDA_API_KEY": API_KEY,
    "CRUSOE_ACCESS_KEY_ID": crusoe.ACCESS_KEY,
    "CRUSOE_SECRET_KEY": crusoe.SECRET_KEY,
    "CRUSOE_DEFAULT_PROJECT": crusoe.PROJECT,
}
PROGRAM = str(Path(sys.executable).with_name("b9prov"))


@dataclass
class Site:
    """A provider's stand-in, the inventory that has it as its one source of hosts, and a user."""

    provider: str
    api: CloudStandIn
    power: LabPower
    driver: Driver
    inventory: Path

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [PROGRAM, *words],
            env={**self.driver.env, **CREDENTIALS},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *words: str, code: int = 0) -> str:
        """What a command said that ends with this code."""
        process = self.start(*words)
        out, err = process.communicate(timeout=120)
        assert process.returncode == code, out + err
        return out + err

    def up_words(self, *more: str) -> list[str]:
        kind, region = KINDS[self.provider]
        where = ["--provider", self.provider, "--type", kind, "--region", region]
        return ["box", "up", str(self.inventory), *where, "--name", "gpu", *more]

    def host(self) -> Host:
        """The host that the one machine is."""
        (machine,) = self.api.running()
        return self.power.hosts[machine.id]

    def record(self) -> list[dict[str, Any]]:
        file = self.driver.state / "boxes.json"
        found: list[dict[str, Any]] = json.loads(file.read_text())["boxes"]
        return found

    def write_record(self, boxes: list[dict[str, Any]]) -> None:
        file = self.driver.state / "boxes.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), "boxes": boxes}))

    def nothing_is_left(self) -> None:
        """Neither at the provider, nor at the gateway, nor here."""
        assert self.api.running() == []
        assert getattr(self.api, "keys", {}) == {}
        assert self.record() == []
        assert "no workers" in self.run("gateway", "workers", str(self.inventory))
        machines = self.run("machine", "list", str(self.inventory), "--pool", "gpu")
        assert "no machines" in machines


@pytest.fixture(scope="module")
def power(lab: Lab) -> Iterator[LabPower]:
    """The lab's workers, all of them off; as new hosts again at the end."""
    lab.reset(lab.gateway)
    for host in lab.worker_hosts:
        host.kill()
    try:
        yield LabPower(lab)
    finally:
        for host in lab.worker_hosts:
            lab.reset(host)


def _site(provider: str, api: CloudStandIn, power: LabPower, driver: Driver) -> Iterator[Site]:
    with api.serving() as base:

        def from_cloud(data: dict[str, Any]) -> None:
            del data["hosts"], data["defaults"]["user"]
            data["sources"] = [{provider: {"api": base, "group": "rented"}}]

        yield Site(provider, api, power, driver, driver.inventory(from_cloud))
        for machine in api.running():
            api.end(machine)


@pytest.fixture
def lambda_site(power: LabPower, driver: Driver) -> Iterator[Site]:
    yield from _site("lambda", LambdaStandIn(power), power, driver)


@pytest.fixture
def crusoe_site(power: LabPower, driver: Driver) -> Iterator[Site]:
    yield from _site("crusoe", crusoe.CrusoeStandIn(power), power, driver)


def _sent_key(machine: Machine) -> str:
    """The public host key that went through the provider's hands."""
    for word in machine.user_data.replace('"', "\n").replace("'", "\n").splitlines():
        if word.startswith("ssh-ed25519 "):
            return word
    raise AssertionError("no host key in the user data")


def test_from_nothing_to_ready_and_to_nothing_again(lambda_site: Site) -> None:
    site = lambda_site
    said = site.run(*site.up_words())
    (machine,) = site.api.running()
    assert "launching gpu: gpu_1x_a10 in us-east-1, $0.75 an hour each" in said
    (row,) = [line.split() for line in said.splitlines() if line.startswith("gpu   yes")]
    assert row[-1] == "$0.75"

    # the host's key is one that the provider has not seen, and it alone is believed
    sent, now = _sent_key(machine), site.host().path("/etc/ssh/ssh_host_ed25519_key.pub")
    assert now.read_text().split()[1] != sent.split()[1]
    (record,) = site.record()
    assert record["host_keys"] == [" ".join(now.read_text().split()[:2])]
    assert (record["step"], record["id"]) == ("ready", machine.id)
    assert not (site.driver.home / ".ssh" / "known_hosts").exists()

    # all commands know it, by the inventory's source
    inventory = str(site.inventory)
    asked = site.run("exec", inventory, "rented", "--", "cat", "/etc/hostname")
    assert site.host().name in asked
    listed = site.run("box", "list", inventory)
    assert machine.id in listed
    assert "all of them: $0.75 an hour" in listed
    proven = site.run("verify", inventory, "gpu", "--job")
    assert "gpu: a Job of " in proven
    assert "1 of 1 proven" in proven

    # as a run leaves it that is killed while the host key is exchanged; nothing else is to be done
    own = record["host_keys"]
    site.write_record([{**record, "step": "launched", "host_keys": [sent, *own]}])
    again = site.run(*site.up_words())
    assert len(site.api.machines) == 1
    assert site.record() == [record]
    assert "changed=0 " in next(x for x in again.splitlines() if x.startswith("gpu: ok="))

    assert "gpu is ended" in site.run("box", "down", "gpu", "--yes")
    site.nothing_is_left()


def test_a_killed_launch_is_finished_and_what_the_provider_ends_is_cleaned_up(
    crusoe_site: Site,
) -> None:
    site = crusoe_site
    killed = site.start(*site.up_words())
    wait_until(site.api.running, 20, "a machine is launched")
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=10)

    site.run(*site.up_words())
    (machine,) = site.api.machines.values()
    assert _sent_key(machine) not in str(site.record())

    site.api.end(machine)  # as providers do, with what is rented cheaply
    assert " gone " in site.run("box", "list", str(site.inventory))
    assert "gpu was not at crusoe any more" in site.run("box", "down", "gpu", "--yes")
    site.nothing_is_left()


def test_a_machine_with_another_host_key_is_not_logged_in_to(lambda_site: Site) -> None:
    site = lambda_site

    def impostor(machine: Machine) -> None:
        machine.user_data = ""
        LabPower.on(site.power, machine)

    site.api.power.on = impostor  # type: ignore[method-assign]
    try:
        running = site.start(*site.up_words())
        assert running.stderr
        said = ""
        while "is not the pinned SHA256:" not in said:
            line = running.stderr.readline()
            assert line, said
            said += line
        running.send_signal(signal.SIGINT)
        said += running.communicate(timeout=20)[1]
    finally:
        del site.api.power.on
    assert running.returncode == 130
    assert "gpu costs money: lambda" in said
    log = site.host().exec(["journalctl", "-u", "ssh", "--no-pager"]).stdout
    assert "Accepted" not in log
    site.run("box", "down", "gpu", "--yes")
    assert site.api.running() == []
