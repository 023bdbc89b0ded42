"""`b9prov pool` against the reference gateway."""

from __future__ import annotations

import json

import requests
import yaml
from administered import describe

from provisioner.gateway.client import Machine
from provisioner.secrets import revealed


def make_ready(gateway, machine: Machine) -> None:
    ids = {"machine_id": machine.id, "provider_name": "generic", "pool_name": machine.pool}
    sizes = {"cpu": "8000m", "memory": "16Gi", "gpu_count": "1", "hostname": "192.0.2.1"}
    for path, body in (
        ("register", {**ids, **sizes, "token": "k"}),
        ("keepalive", {**ids, "metrics": {}}),
    ):
        url = f"{gateway.url}/api/v1/machine/{path}"
        headers = {"Authorization": f"Bearer {revealed(machine.token)}"}
        requests.post(url, json=body, headers=headers, timeout=5).raise_for_status()


def test_pools_with_their_machines_and_hosts(b9prov, gateway, admin) -> None:
    for pool in ("gpu", "cpu"):
        make_ready(gateway, admin.create_machine(pool))
    admin.create_machine("gpu")
    gateway.api.store.staffed = ["gpu", "cpu"]
    done = b9prov("pool", "list", "--output", "json")
    assert done.returncode == 0, done.stderr
    rows = {row["name"]: row for row in json.loads(done.stdout)["pools"]}
    assert list(rows) == ["cpu", "gpu", "own"]
    gpu = rows["gpu"]
    assert (gpu["gpu"], gpu["machines"], gpu["ready"], gpu["host_names"]) == ("H100", 2, 1, ["w1"])
    assert rows["own"]["is_local"] and rows["own"]["machines"] is None
    titles = b9prov("pool", "list").stdout.splitlines()[0].split()
    assert titles == "NAME GPU STATUS MACHINES READY WORKERS CONTAINERS HOSTS".split()


def test_a_gateway_that_cant_list_its_pools_yet(b9prov, gateway, admin) -> None:
    admin.create_machine("gpu")
    done = b9prov("pool", "list")
    assert done.returncode == 0
    assert "can't list its pools yet" in done.stderr and "inventory.yaml" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == ["gpu", "cpu"]


def test_one_pool(b9prov, gateway, admin) -> None:
    machine = admin.create_machine("gpu").id
    done = b9prov("pool", "show", "gpu")
    assert done.returncode == 0, done.stderr
    assert machine in done.stdout and done.stdout.endswith("in it: w1\n")
    found = json.loads(b9prov("pool", "show", "gpu", "--output", "json").stdout)
    assert [each["id"] for each in found["machines"]] == [machine]
    assert found["pool"]["machines"] == 1
    assert b9prov("pool", "show", "own").returncode == 0
    done = b9prov("pool", "show", "tpu")
    assert (done.returncode, done.stdout) == (1, "") and "'tpu' is not configured" in done.stderr


def test_what_a_new_pool_takes(b9prov, gateway) -> None:
    words = ("pool", "create", "h", "--gpu-type", "H100", "--default-gpu-count", "2")
    done = b9prov(*words, "--provider", "lambda")
    assert done.returncode == 0, done.stderr
    assert "CONFIG_PATH" in done.stdout and "restart" in done.stdout
    (pool,) = yaml.safe_load(done.stdout)["worker"]["pools"].values()
    assert (pool["mode"], pool["provider"], pool["gpuType"]) == ("external", "lambda", "H100")
    assert pool["poolSizing"]["defaultWorkerGpuCount"] == "2"
    found = json.loads(b9prov(*words, "--output", "json").stdout)
    assert found["exists"] is False and "h" in found["configuration"]["worker"]["pools"]


def test_a_pool_that_is_there(b9prov, gateway) -> None:
    for name in ("gpu", "own"):
        assert b9prov("pool", "create", name).stdout == f"pool {name} is there already\n"


def test_a_new_pool_without_a_gateway(b9prov, folder) -> None:
    done = b9prov("pool", "create", "h")
    (pool,) = yaml.safe_load(done.stdout)["worker"]["pools"].values()
    assert "gpuType" not in pool and "runtime" not in pool


def test_pools_that_can_not_be(b9prov, folder) -> None:
    for words in (["a b"], ["h", "--cpu", "8"], ["h", "--memory", "16G"]):
        done = b9prov("pool", "create", *words)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_gateway_that_does_not_answer(b9prov, folder, listener) -> None:
    port = listener.getsockname()[1]
    listener.close()
    describe(folder, f"url: 'http://127.0.0.1:{port}', admin_token: x")
    for words in (["list"], ["show", "gpu"], ["create", "h"]):
        done = b9prov("pool", *words)
        assert (done.returncode, done.stdout) == (1, "") and "Connection refused" in done.stderr
