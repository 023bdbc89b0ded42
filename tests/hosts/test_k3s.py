"""k3s in all its modes: installed as told, adopted, joined, upgraded, given a new token."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Driver, Json, Running, tail, wait_until
from looks import (
    agent_config,
    differences,
    is_ready,
    leaks,
    reverse_address,
    sh,
    tree,
    wait_ready,
)

from provisioner.lab import Host, Lab, packing
from provisioner.lab.standins import versions

OLD, NEW, FAR = "v1.32.9+k3s1", versions.K3S, "v1.35.0+k3s1"
PASSWORD = "of-the-registry-7d1f"
REGISTRIES = {
    "mirrors": {"docker.io": {"endpoint": ["https://registry.example.org"]}},
    "configs": {"registry.example.org": {"auth": {"username": "pull", "password": PASSWORD}}},
}
DATA = "/srv/disk/k3s"
UNIT = """\
[Unit]
Description=a k3s that its owner installed
[Service]
Type=notify
ExecStart=/usr/local/bin/k3s server
[Install]
WantedBy=multi-user.target
"""
Edit = Callable[[Json], Any]


def release(lab: Lab, version: str) -> Json:
    """Put a k3s stand-in of `version` on the lab's mirror; what an inventory says to have it.

    The version that is there already stays as it is: other tests have its hash.
    """
    there = lab.artifacts_dir / "k3s" / version / "k3s"
    if version == NEW:
        return {"version": version, "sha256": packing.sha256(there)}
    with zipfile.ZipFile(io.BytesIO(packing.program("k3s"))) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    name = "provisioner/lab/standins/versions.py"
    kubernetes = version.partition("+")[0]
    files[name] = files[name].replace(versions.KUBERNETES.encode(), kubernetes.encode())
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as again:
        for each, content in files.items():
            again.writestr(each, content)
    program = b"#!/usr/bin/python3\n" + buffer.getvalue()
    packing.place(there, program)
    return {"version": version, "sha256": hashlib.sha256(program).hexdigest()}


class Served:
    """Three workers: w1 with a k3s of its own, w2 whose k3s was there, w3 who joined w1's."""

    def __init__(self, driver: Driver) -> None:
        self.driver, self.lab = driver, driver.lab
        self.w1, self.w2, self.w3 = self.lab.worker_hosts
        self.own: Json = {
            **release(self.lab, OLD),
            "data_dir": DATA,
            "registries": REGISTRIES,
            "kubelet_args": ["max-pods=30"],
            "config": {"tls-san": ["w1.example.org"], "node-label": ["room=12"]},
            "prepull": ["docker.io/library/worker:1"],
            "drain_timeout": 1,
        }
        self.joined: Json = {"mode": "join", "url": f"https://{self.w1.address}:6443"}

    def inventory(self, **own: Any) -> Path:
        """The three workers, w1 with further settings of its k3s."""

        def edit(data: Json) -> None:
            hosts = data["hosts"]
            hosts["w1"]["k3s"] = {**self.own, **own}
            hosts["w2"]["k3s"] = {"mode": "existing"}
            hosts["w3"]["k3s"] = self.joined
            # one leads to the gateway's API, and nobody is behind the other
            data["gateway"]["forwards"] = ["1993:localhost:31994", "1992:localhost:9"]
            data["defaults"]["preflight"] = {"ignore": ["forward"]}

        return self.driver.inventory(edit)


@pytest.fixture(scope="module")
def served(driver: Driver) -> Served:
    lab = driver.lab
    lab.reset_all()
    found = Served(driver)
    program = (lab.artifacts_dir / "k3s" / NEW / "k3s").read_bytes()
    packing.place(found.w2.path("/usr/local/bin/k3s"), program, 0o755)
    found.w2.path("/etc/systemd/system/k3s.service").write_text(UNIT)
    sh(found.w2, "systemctl enable --now k3s")
    return found


def up(served: Served, *words: str, **own: Any) -> Any:
    ran = served.driver.run("up", *words, inventory=served.inventory(**own))
    assert ran.code == 0, tail(ran)
    return ran


def test_a_k3s_of_somebody_else_is_found_before_harm(served: Served) -> None:
    before = tree(served.w2)
    ran = served.driver.run("up", "--limit", "w2")
    assert ran.code == 1, tail(ran)
    assert "k3s: found /etc/systemd/system/k3s.service" in ran.end("w2")["reason"]
    assert "k3s.mode existing" in ran.end("w2")["advice"]
    assert differences(before, tree(served.w2)) == ""


@pytest.fixture(scope="module")
def installed(served: Served) -> Served:
    """All three are up."""
    served.joined["token"] = "not-yet-there"
    first = up(served, "--limit", "w1,w2")
    assert leaks(first.text, {"the registry's password": PASSWORD}) == set()
    served.joined["token"] = sh(served.w1, f"cat {DATA}/server/node-token")
    up(served, "--limit", "w3")
    return served


def test_it_is_installed_as_the_inventory_says(installed: Served) -> None:
    w1 = installed.w1
    config = yaml.safe_load(w1.path("/etc/rancher/k3s/config.yaml").read_text())
    assert config == {
        "data-dir": DATA,
        "disable": ["traefik", "servicelb", "metrics-server"],
        "kubelet-arg": ["max-pods=30"],
        "node-label": ["room=12"],
        "node-name": "w1",
        "tls-san": [reverse_address(w1), "w1.example.org"],
        "write-kubeconfig-mode": "0600",
    }
    registries = w1.path("/etc/rancher/k3s/registries.yaml")
    assert yaml.safe_load(registries.read_text()) == REGISTRIES
    assert registries.stat().st_mode & 0o777 == 0o600
    assert not w1.path("/var/lib/rancher").exists()
    sh(w1, "k3s crictl inspecti -q docker.io/library/worker:1")


def test_its_certificate_is_good_for_the_address_at_the_gateway(installed: Served) -> None:
    authority = sh(installed.w1, f"cat {DATA}/server/tls/serving.crt")
    installed.lab.gateway.path("/opt/w1.crt").write_text(authority)
    url = f"https://{reverse_address(installed.w1)}:6443/version"
    said = sh(installed.lab.gateway, f"curl -sS --cacert /opt/w1.crt {url}")
    assert json.loads(said)["reason"] == "Unauthorized"


def test_who_joined_is_a_node_and_who_was_adopted_is_left_alone(installed: Served) -> None:
    assert sh(installed.w1, "k3s kubectl get nodes").split() == ["w1", "w3"]
    assert installed.w2.path("/etc/systemd/system/k3s.service").read_text() == UNIT
    for worker in (installed.w1, installed.w2):
        wait_until(lambda worker=worker: is_ready(installed.lab, worker), 20, worker.name)
    assert agent_config(installed.w3)["k3s"] == {"token": ""}


def test_a_second_up_changes_nothing_in_any_mode(installed: Served) -> None:
    ran = up(installed)
    assert ran.changed() == {host.name: 0 for host in installed.lab.hosts}
    (forwards,) = ran.of("task_finished", host="w1", module="forwards_check")
    (warning,) = forwards["result"]["warnings"]
    assert warning.startswith("forward 1992: found nobody behind the tunnel")


@pytest.mark.parametrize("version", [FAR, "v1.31.9+k3s1"])
def test_an_upgrade_over_a_minor_and_a_downgrade_are_refused(
    installed: Served, version: str
) -> None:
    before = tree(installed.w1)
    wanted = {"version": version, "sha256": "0" * 64}
    inventory = installed.inventory(**wanted)
    ran = installed.driver.run("up", "--limit", "w1", inventory=inventory)
    assert ran.code == 1, tail(ran)
    assert f"upgrade: found {OLD}" in ran.end("w1")["reason"]
    way = f"v1.33, then v1.34, then {FAR}" if version == FAR else f"set k3s.version to {OLD}"
    assert way in ran.end("w1")["advice"]
    assert differences(before, tree(installed.w1)) == ""


def call(host: Host, method: str, path: str, body: Json | None = None) -> Json:
    """A call of the host's own k3s as its administrator."""
    config = yaml.safe_load(host.path("/etc/rancher/k3s/k3s.yaml").read_text())
    token = config["users"][0]["user"]["token"]
    data = "" if body is None else f"-d '{json.dumps(body)}'"
    header = f"-H 'Authorization: Bearer {token}'"
    said = sh(host, f"curl -sSk -X {method} {header} {data} https://127.0.0.1:6443{path}")
    answer: Json = json.loads(said)
    return answer


JOBS = "/apis/batch/v1/namespaces/default/jobs"


def test_an_upgrade_waits_for_pods_and_gives_up_in_time(installed: Served) -> None:
    w1 = installed.w1
    labels = {"k3s-stand-in/stays": "true"}
    job = {"kind": "Job", "metadata": {"name": "stays"}, "spec": {}}
    job["spec"] = {"template": {"metadata": {"labels": labels}, "spec": {"containers": []}}}
    call(w1, "POST", JOBS, job)
    try:
        inventory = installed.inventory(**release(installed.lab, NEW))
        ran = installed.driver.run("up", "--limit", "w1", inventory=inventory)
        assert ran.code == 1, tail(ran)
        assert "its node has pods that did not end within 1 s" in ran.end("w1")["reason"]
        assert OLD in sh(w1, "k3s --version")
        assert call(w1, "GET", "/api/v1/nodes/w1")["spec"] == {}
    finally:
        call(w1, "DELETE", f"{JOBS}/stays")


def test_an_upgrade_that_was_killed_is_finished_by_the_next(installed: Served) -> None:
    """Drained, restarted, proven, and open for pods again."""
    w1 = installed.w1
    installed.own |= release(installed.lab, NEW)
    run = installed.driver.start("up", "--limit", "w1", inventory=installed.inventory())
    run.wait_for("task_finished", host="w1", task="no new pods, and the old ones end")
    run.kill()
    assert call(w1, "GET", "/api/v1/nodes/w1")["spec"] == {"unschedulable": True}
    up(installed, "--limit", "w1")
    assert NEW in sh(w1, "k3s --version")
    node = call(w1, "GET", "/api/v1/nodes/w1")
    assert (node["spec"], node["status"]["nodeInfo"]["kubeletVersion"]) == ({}, NEW)
    log = sh(w1, "journalctl -u k3s -o cat --no-pager")
    drained, started, opened = (
        log.rindex(part) for part in ("/eviction", f"k3s-stand-in {NEW} serves", "PATCH")
    )
    assert drained < started < opened
    wait_ready(installed.lab, w1)
    assert up(installed, "--limit", "w1").changed()["w1"] == 0


def registered(worker: Host) -> str:
    """What the gateway tells of its ready machines, their tokens for k3s too."""
    token = agent_config(worker)["machine"]["token"]
    worker.path("/opt/header").write_text(f"Authorization: Bearer {token}\n")
    path = "api/v1/machine/list?pool_name=gpu&provider_name=generic"
    return sh(worker, f"curl -sS -H @/opt/header 'http://127.0.0.1:1994/{path}'")


def test_a_new_token_makes_the_old_one_void(installed: Served) -> None:
    lab, w1 = installed.lab, installed.w1
    old = agent_config(w1)["k3s"]["token"]
    program = str(Path(sys.executable).with_name("b9prov"))
    words = ["gateway", "rotate-tokens", str(installed.inventory()), "w1", "--output", "json"]
    ran = Running([program, *words], installed.driver.env).end(120)
    assert ran.code == 0, tail(ran)
    new = agent_config(w1)["k3s"]["token"]
    assert new != old
    assert leaks(ran.text, {"old": old, "new": new}) == set()
    url = f"https://{reverse_address(w1)}:6443/version"
    codes = [
        sh(lab.gateway, f"curl -sk -o /dev/null -w '%{{http_code}}' -H @/opt/header {url}")
        for token in (old, new)
        if lab.gateway.path("/opt/header").write_text(f"Authorization: Bearer {token}\n")
    ]
    assert codes == ["401", "200"]
    assert leaks(registered(w1), {"old": old, "new": new}) == {"new"}
    assert up(installed, "--limit", "w1").changed()["w1"] == 0


def test_registries_that_are_listed_no_longer_go(installed: Served) -> None:
    started = sh(installed.w1, "systemctl show -P ExecMainStartTimestampMonotonic k3s")
    installed.own["registries"] = {}
    assert up(installed, "--limit", "w1").changed()["w1"] == 2
    assert not installed.w1.path("/etc/rancher/k3s/registries.yaml").exists()
    assert sh(installed.w1, "systemctl show -P ExecMainStartTimestampMonotonic k3s") != started


def test_down_leaves_nothing_of_it_but_what_is_not_its_own(installed: Served) -> None:
    mine = installed.w1.path("/srv/disk/k3s/mine")
    mine.write_text("data of the user's")
    inventory = installed.inventory()
    ran = installed.driver.run("down", "--yes", inventory=inventory)
    assert ran.code == 0, tail(ran)
    left = [path for path in tree(installed.w1) if "k3s" in path or "rancher" in path]
    assert left == ["srv/disk/k3s", "srv/disk/k3s/mine"]
    assert [path for path in tree(installed.w3) if "k3s" in path or "rancher" in path] == []
    secret = installed.w2.exec("k3s kubectl get secret b9prov-gateway-token -o name".split())
    assert "NotFound" in secret.stderr  # and it answers
    again = installed.driver.run("down", "--yes", inventory=inventory)
    assert set(again.changed().values()) == {0}
