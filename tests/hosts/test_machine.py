"""`b9prov machine` through SSH to the gateway host, and `b9prov lab` on single hosts."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Json

from provisioner.lab import Lab
from provisioner.paths import state_dir

Done = subprocess.CompletedProcess[str]
INVENTORY = "gateway: {{{gateway}}}\nhosts: {{w1: {{address: 192.0.2.1, pool: gpu}}}}\n"


class Admin:
    """Types `b9prov machine …` about the lab's gateway."""

    def __init__(self, driver: Driver) -> None:
        self.lab, self.env, self.path = driver.lab, driver.env, driver.home / "admin.yaml"
        self.describe()

    def describe(self, **changes: Any) -> None:
        """Write the inventory, which has nothing but the gateway to contact."""
        host = self.lab.gateway
        keys = {"host": host.address, "user": "admin", "host_key": host.host_key}
        keys |= {"identity_file": self.lab.identity_file, **changes}
        keys.setdefault("admin_token", self.lab.admin_token_path.read_text().strip())
        given = ", ".join(f"{name}: {json.dumps(str(value))}" for name, value in keys.items())
        self.path.write_text(INVENTORY.format(gateway=given))

    def __call__(self, *words: str) -> Done:
        return b9prov("machine", *words, str(self.path), env=self.env)

    def machines(self) -> dict[str, Json]:
        done = self("list", "--output", "json")
        assert done.returncode == 0, done.stderr
        return {row["id"]: row for row in json.loads(done.stdout)["machines"]}

    def fails(self, *words: str) -> str:
        """The one line that it says, when it fails."""
        done = self(*words)
        assert (done.returncode, done.stdout) == (1, ""), done
        assert done.stderr.count("\n") == 1, done.stderr
        return done.stderr


def b9prov(*words: str, env: dict[str, str]) -> Done:
    argv = [str(Path(sys.executable).with_name("b9prov")), *words]
    quiet = subprocess.DEVNULL
    return subprocess.run(argv, env=env, stdin=quiet, capture_output=True, text=True, timeout=60)


@pytest.fixture
def admin(driver: Driver) -> Admin:
    return Admin(driver)


def test_a_machine_from_its_creation_to_its_end(admin: Admin) -> None:
    before = admin.machines()
    made = admin("create", "--pool", "gpu")
    assert made.returncode == 0, made.stderr
    assert f"ssh -fNL 1994:localhost:31994 admin@{admin.lab.gateway.address}\n" in made.stdout
    (machine,) = set(admin.machines()) - set(before)
    assert f"--machine-id {machine} --pool-name gpu --gateway-host localhost" in made.stdout
    assert admin.machines()[machine]["status"] == "pending"
    assert machine in admin("list").stdout
    gone = admin("delete", machine, "--pool", "gpu", "--yes")
    assert gone.stdout == f"machine {machine} of pool gpu is deleted\n", gone.stderr
    assert set(admin.machines()) == set(before)
    assert f"no machine '{machine}'" in admin.fails("delete", machine, "--pool", "gpu", "--yes")


def test_a_wrong_admin_token(admin: Admin) -> None:
    admin.describe(admin_token="not-the-admin-token")
    for words in (["list"], ["create", "--pool", "gpu"], ["delete", "0", "--pool", "gpu", "--yes"]):
        said = admin.fails(*words)
        assert "does not know the admin token" in said and "gateway.admin_token" in said
        assert "not-the-admin-token" not in said


def test_a_host_key_that_is_another(admin: Admin) -> None:
    admin.describe(host_key=admin.lab.host("w1").host_key)
    assert "the gateway host: host key SHA256:" in admin.fails("list")


def test_a_gateway_that_is_down(admin: Admin) -> None:
    host = admin.lab.gateway
    host.exec(["systemctl", "stop", "reference-gateway"])
    try:
        said = admin.fails("list")
    finally:
        host.exec(["systemctl", "start", "reference-gateway"])
        admin.lab.wait_gateway()
    assert "the gateway does not answer at http://localhost:31994" in said
    assert "through the SSH connection" in said and "gateway.api" in said


def test_a_host_of_the_lab_is_stopped_started_and_rebooted(driver: Driver, lab: Lab) -> None:
    # The lab was made with the state folder of this process, not with the driver's.
    env = {**driver.env, "XDG_STATE_HOME": str(state_dir().parent)}

    def power(*words: str) -> Done:
        return b9prov("lab", *words, "--name", lab.name, env=env)

    host = lab.host("w2")
    assert power("stop", "w2").stdout == "w2 is off\n"
    assert not host.running()
    refused = power("reboot", "w2")
    assert refused.returncode == 1 and f"b9prov lab start w2 --name {lab.name}" in refused.stderr
    assert power("start", "w2").stdout == "w2 is on\n"
    assert host.running()
    booted = host.exec(["cat", "/proc/1/stat"]).stdout.split()[21]
    assert power("reboot", "w2").stdout == "w2 was rebooted\n"
    assert host.exec(["cat", "/proc/1/stat"]).stdout.split()[21] != booted
    unknown = power("stop", "w9")
    assert unknown.returncode == 1 and "there are gateway, w1, w2" in unknown.stderr
