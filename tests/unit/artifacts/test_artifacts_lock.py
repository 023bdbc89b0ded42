"""Locks of artifacts: the one that is shipped, one's own, and what hosts are told of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from provisioner.artifacts import vendor
from provisioner.artifacts.lock import Entry, Lock, load_lock, lock_of, shipped_lock
from provisioner.artifacts.sources import artifact
from provisioner.errors import BadInput
from provisioner.inventory import load_inventory
from provisioner.inventory.schema import Settings
from provisioner.inventory.sections import values

ONE, TWO = "1" * 64, "2" * 64
DEFAULTS = values(Settings, {})
SETTINGS: dict[str, Any] = DEFAULTS["artifacts"]


def written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def row(**keys: str) -> str:
    given = {"name": "ollama", "version": '"9.9.9"', "arch": "amd64", "url": "http://h/o-9.tgz"}
    pairs = {**given, "sha256": f'"{ONE}"', **keys}
    return "- {" + ", ".join(f"{k}: {v}" for k, v in pairs.items() if v) + "}\n"


def test_the_versions_that_are_the_default_are_pinned() -> None:
    for arch in ("amd64", "arm64"):
        for name in ("ollama", "k3s"):
            found = shipped_lock().find(name, DEFAULTS[name]["version"], arch)
            assert found and found.url == vendor.vendor_url(name, found.version, arch)
    image, _, digest = DEFAULTS["nvidia"]["device_plugin"].partition("@sha256:")
    plugin = shipped_lock().find("nvidia-device-plugin", image.rpartition(":")[2], "arm64")
    assert plugin and (plugin.url, plugin.sha256) == (f"docker://{image}", digest)


def test_each_shipped_entry_is_the_vendors_own_file() -> None:
    for entry in shipped_lock():
        assert entry.licence and re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert len(set(entry.sha256)) > 8, f"{entry}: that is no hash of anything"
        if not entry.is_image:
            folder = vendor.vendor_url(entry.name, entry.version, entry.arch).rpartition("/")[0]
            assert entry.url.startswith(f"{folder}/")
    assert len({entry.sha256 for entry in shipped_lock()}) == len(shipped_lock())


def test_what_is_wrong_with_a_lock_is_told_with_its_line(tmp_path: Path) -> None:
    text = "artifacts:\n" + row(sha256="abc") + row(arch="mips") + row(size="-1") + row(nme="x")
    text += row(url="ftp://h/x") + row(version="../../etc")
    with pytest.raises(BadInput) as caught:
        load_lock(written(tmp_path / "own.lock", text))
    said = [str(problem) for problem in caught.value.problems]
    assert [f"own.lock:{line}:" in said[line - 2] for line in range(2, 8)] == [True] * 6, said
    for wrong, problem in zip(
        ("hexa", "one of", "whole", "nme", "URL", "version"), said, strict=True
    ):
        assert wrong in problem
    with pytest.raises(BadInput, match=r"own.lock:2: an artifact without url"):
        load_lock(written(tmp_path / "own.lock", "artifacts:\n" + row(url="")))
    with pytest.raises(
        BadInput, match=r"own.lock:3: .* is there twice \(it is already at line 2\)"
    ):
        load_lock(written(tmp_path / "own.lock", "artifacts:\n" + row() + row()))
    with pytest.raises(BadInput, match=r"own.lock:1: expected a mapping"):
        load_lock(written(tmp_path / "own.lock", "[]"))
    assert len(load_lock(written(tmp_path / "own.lock", ""))) == 0


def test_a_lock_is_read_as_it_was_written(tmp_path: Path) -> None:
    lock = Lock([Entry("k3s", "v1+k3s1", "any", "https://h/a%2Bb", ONE, 7, "X")])
    lock.write(tmp_path / "sub/own.lock")
    assert list(load_lock(tmp_path / "sub/own.lock")) == list(lock)


def test_ones_own_lock_wins_and_the_inventory_over_both(tmp_path: Path) -> None:
    version = DEFAULTS["ollama"]["version"]
    own = written(tmp_path / "own.lock", "artifacts:\n" + row(version=f'"{version}"'))
    assert lock_of(str(own)).find("k3s", DEFAULTS["k3s"]["version"], "amd64")
    settings = {**SETTINGS, "lock": str(own)}
    assert artifact("ollama", version, "x86_64", settings)["sha256"] == ONE
    assert artifact("ollama", version, "aarch64", settings)["sha256"] != ONE
    told = artifact("ollama", version, "x86_64", settings, TWO)
    assert (told["sha256"], told["url"]) == (TWO, "http://h/o-9.tgz")
    own.write_text("artifacts:\n" + row(version=f'"{version}"', sha256=f'"{TWO}"'))
    assert artifact("ollama", version, "x86_64", settings)["sha256"] == TWO, "it was read anew"


def test_sources_come_in_the_order_that_is_said() -> None:
    settings = {**SETTINGS, "dir": "/d", "mirror": "http://m/", "push_dir": "/p"}
    file = "k3s/v1.33.4+k3s1/k3s"
    url = "https://github.com/k3s-io/k3s/releases/download/v1.33.4%2Bk3s1/k3s"
    found = artifact("k3s", "v1.33.4+k3s1", "x86_64", settings)
    assert found["sources"] == [f"/d/{file}", "http://m/k3s/v1.33.4%2Bk3s1/k3s", url]
    settings["order"] = ["push", "vendor", "dir"]
    found = artifact("k3s", "v1.33.4+k3s1", "x86_64", settings)
    assert found["sources"] == ["controller", url, f"/d/{file}"]
    assert (found["push"], found["kind"], found["file"]) == (f"/p/{file}", "none", file)
    settings["order"] = ["mirror"]
    own = artifact("ollama", "0.9.6", "aarch64", settings, None, "http://own")
    path = "ollama/0.9.6/ollama-linux-arm64.tgz"
    assert own["sources"] == [f"http://own/{path}", f"http://m/{path}"]


def test_what_nobody_pinned_has_no_hash_but_a_name() -> None:
    found = artifact("ollama", "77.0", "x86_64", SETTINGS)
    assert found["sha256"] is None and found["file"] == "ollama/77.0/ollama-linux-amd64.tar.zst"


@pytest.mark.parametrize(
    ("name", "version", "file", "kind"),
    [
        ("ollama", "0.13.9", "ollama-linux-amd64.tgz", "tgz"),
        ("ollama", "0.14.0-rc1", "ollama-linux-amd64.tar.zst", "tar.zst"),
        ("ollama", "1.2", "ollama-linux-amd64.tar.zst", "tar.zst"),
        ("k3s-images", "v1.30.0+k3s1", "k3s-airgap-images-amd64.tar.zst", "tar.zst"),
        ("k3s", "v1.30.0+k3s1", "k3s", "none"),
    ],
)
def test_vendors_names(name: str, version: str, file: str, kind: str) -> None:
    found = artifact(name, version, "x86_64", SETTINGS, ONE)
    assert found["url"].rpartition("/")[2] == file and found["kind"] == kind


def test_paths_on_the_controller_start_at_the_inventory(tmp_path: Path) -> None:
    text = "gateway: {host: 192.0.2.1}\nhosts: {w1: 192.0.2.2}\n"
    text += "defaults: {artifacts: {lock: own.lock, push_dir: files, order: [push]}}\n"
    host = load_inventory(written(tmp_path / "inventory.yaml", text)).hosts["w1"]
    found = host.variables["artifacts"]
    assert (found["lock"], found["push_dir"]) == (f"{tmp_path}/own.lock", f"{tmp_path}/files")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("artifacts: {order: [push]}", r"inventory.yaml:3: .* push, without artifacts.push_dir"),
        ("artifacts: {order: []}", r"inventory.yaml:3: artifacts.order is empty"),
        ("artifacts: {order: [mirorr]}", r"inventory.yaml:3: .*one of dir, mirror"),
        ("ollama: {probe: true}", r"inventory.yaml:3: ollama.probe wants a model"),
        ("ollama: {env: {A: true}}", r"inventory.yaml:3: .*text for A \(put it in quotes\)"),
        ("ollama: {env: {A: [1]}}", r"inventory.yaml:3: .*text for A"),
        ("ollama: {keep_alive: soon}", r"inventory.yaml:3: .*a duration"),
        ("ollama: {gpus: ['0,1']}", r"inventory.yaml:3: .*UUID or the index"),
        ("ollama: {models: ['a@sha256:12']}", r"inventory.yaml:3: .*a model, NAME:TAG"),
    ],
)
def test_an_inventory_that_can_not_be_is_refused(tmp_path: Path, settings: str, said: str) -> None:
    text = f"gateway: {{host: 192.0.2.1}}\nhosts: {{w1: 192.0.2.2}}\ndefaults: {{{settings}}}\n"
    with pytest.raises(BadInput, match=said):
        load_inventory(written(tmp_path / "inventory.yaml", text))
