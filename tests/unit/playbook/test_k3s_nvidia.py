"""What `up` gives a k3s with GPUs: the RuntimeClass, and the device plugin for its slices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from provisioner.engine.render import render_host
from provisioner.engine.run import Options
from provisioner.inventory import load_inventory
from provisioner.paths import data_dir, shipped_playbook
from provisioner.playbook.loader import Loader

MANIFEST = "/var/lib/rancher/k3s/server/manifests/b9prov-nvidia.yaml"


def manifests(folder: Path, **settings: Any) -> list[Any] | None:
    """The documents of the manifest that `up` would write; None when it writes none."""
    path = folder / "inventory.yaml"
    gateway = {"host": "192.0.2.1", "admin_token": "a token"}
    hosts = {"w1": {"address": "192.0.2.7"}}
    path.write_text(yaml.safe_dump({"gateway": gateway, "defaults": settings, "hosts": hosts}))
    playbook = Loader([data_dir("playbooks") / "roles"]).playbook(shipped_playbook("up", None))
    options = Options(magic={"b9agent_pyz": str(path), "b9prov_state_dir": "/nonexistent"})
    files = render_host(playbook, load_inventory(path), "w1", options)
    found = [file.content for file in files if file.path == MANIFEST]
    return list(yaml.safe_load_all(found[0])) if found else None


@pytest.mark.parametrize(
    ("mig", "strategy"),
    [(None, "none"), ([], "none"), (["1g.10gb"] * 7, "single"), (["3g.40gb", "1g.10gb"], "mixed")],
)
def test_runtime_class_and_device_plugin(tmp_path: Path, mig: Any, strategy: str) -> None:
    found = manifests(tmp_path, nvidia={"mig": mig})
    assert found is not None
    runtime, plugin = found
    assert (runtime["kind"], runtime["metadata"]["name"]) == ("RuntimeClass", "nvidia")
    pod = plugin["spec"]["template"]["spec"]
    assert pod["runtimeClassName"] == runtime["handler"] == "nvidia"
    (container,) = pod["containers"]
    assert container["image"].startswith("nvcr.io/nvidia/k8s-device-plugin:v")
    assert {"name": "MIG_STRATEGY", "value": strategy} in container["env"]


@pytest.mark.parametrize("image", ['x", "args": ["evil"]', "x#y", "a:b@sha256:0"])
def test_an_image_is_nothing_but_an_image(tmp_path: Path, image: str) -> None:
    image = image.replace(" ", "")
    found = manifests(tmp_path, nvidia={"device_plugin": image})
    assert found is not None
    (container,) = found[1]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == image and "args" not in container


@pytest.mark.parametrize(
    "settings",
    [
        {"gpu": False},
        {"k3s": {"enabled": False}},
        {"k3s": {"mode": "existing"}},
        {"k3s": {"mode": "join", "url": "https://192.0.2.9:6443", "token": "a token"}},
    ],
)
def test_only_a_k3s_of_its_own_with_gpus_gets_them(tmp_path: Path, settings: Any) -> None:
    assert manifests(tmp_path, **settings) is None
