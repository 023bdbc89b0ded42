"""`b9prov check gpu` and the nvidia role on a lab host whose GPUs, and NVIDIA's programs, libraries
and packages, are stood in for."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any
from xml.etree import ElementTree

import pytest
from driver import Driver, Ran, tail
from looks import sh

from provisioner.lab import Host

REPLAYS = Path(__file__).parents[1] / "unit/remote/nvidia_replay.py"
PLACE = "/opt/gpu-stand-in"
REPOSITORY = "/srv/repository"
PORT = 8199
URL = f"http://127.0.0.1:{PORT}"
# What a real host has in its /sys and /proc: its GPUs, and once it is installed their driver.
BOOT = f"""\
[Unit]
Description=GPUs, stood in for
[Service]
Type=oneshot
RemainAfterExit=true
ExecStart=mount --bind {PLACE}/sys/bus/pci/devices /sys/bus/pci/devices
ExecStart=sh -c '[ ! -e {PLACE}/installed ] || mount --bind {PLACE}/proc/driver /proc/driver'
ExecStop=-umount /sys/bus/pci/devices /proc/driver
[Install]
WantedBy=multi-user.target
"""
FABRIC = f"""\
[Service]
ExecStart={PLACE}/nv-fabricmanager infinity
[Install]
WantedBy=multi-user.target
"""
SERVER = f"""\
[Service]
ExecStart=python3 -m http.server --bind 127.0.0.1 --directory {REPOSITORY} {PORT}
[Install]
WantedBy=multi-user.target
"""
UNSIGNED = 'Acquire::AllowInsecureRepositories "true"; APT::Get::AllowUnauthenticated "true";\n'
CONTROL = "Package: {}\nVersion: 1\nArchitecture: all\nMaintainer: x <x@x>\nDescription: x\n"
HEADERS = f"linux-headers-{os.uname().release}"
DRIVER = ("nvidia-kernel-dkms", "nvidia-smi", "nvidia-persistenced", "libcuda1", "libnvidia-ml1")
SITE = """\
- hosts: workers
  become: true
  tasks:
    - import_role: {name: nvidia, tasks_from: install}
"""


def replays() -> ModuleType:
    spec = importlib.util.spec_from_file_location("nvidia_replay", REPLAYS)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def worker(driver: Driver) -> Host:
    """A worker as new; whatever is in its way is gone with the next test's."""
    host = driver.lab.host("w2")
    driver.lab.reset(host)
    return host


@pytest.fixture(scope="module")
def gpus(worker: Host, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Eight H100 on the worker's PCI bus, with nothing installed for them."""
    replay = replays().Replay(worker.path(PLACE), tmp_path_factory.mktemp("built"), PLACE)
    replay.h100()
    worker.path("/etc/systemd/system/gpu-stand-in.service").write_text(BOOT)
    worker.path("/etc/systemd/system/fabric-stand-in.service").write_text(FABRIC)
    sh(worker, f"cp /bin/sleep {PLACE}/nv-fabricmanager")
    sh(worker, "systemctl enable --now gpu-stand-in fabric-stand-in")
    return replay


def check(driver: Driver, *words: str, output: str = "json") -> Ran:
    inventory = driver.inventory(lambda data: data["defaults"].update(gpu=True))
    argv = [str(Path(sys.executable).with_name("b9prov")), "check", "gpu", str(inventory)]
    argv += ["--limit", "w2", "--output", output, *words]
    begun = time.monotonic()
    done = subprocess.run(argv, env=driver.env, capture_output=True, text=True, timeout=60)
    return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)


def rows(ran: Ran) -> dict[str, Any]:
    return {row["name"]: row for row in json.loads(ran.out)["checks"]}


def failed(ran: Ran) -> set[str]:
    return {n for n, r in rows(ran).items() if not r["ok"] and r["severity"] == "error"}


@pytest.fixture(scope="module")
def packages(worker: Host, gpus: Any) -> Host:
    """Repositories of packages that stand in for Debian's and NVIDIA's, and no others."""
    folder = worker.path(f"{REPOSITORY}/dists/bookworm")
    contents = {name: {} for name in (*DRIVER, HEADERS)}
    contents["nvidia-smi"] = {"/usr/bin/nvidia-smi": gpus.folder / "bin/nvidia-smi"}
    contents["nvidia-kernel-dkms"] = {f"{PLACE}/installed": None}
    for file in (gpus.folder / "lib").iterdir():
        package = "libcuda1" if "cuda" in file.name else "libnvidia-ml1"
        contents[package][f"/usr/local/nvidia/lib64/{file.name}"] = file
    for component in ("contrib", "non-free", "non-free-firmware"):
        mine = contents if component == "non-free" else {}
        index = folder / component / "binary-amd64/Packages"
        index.parent.mkdir(parents=True)
        index.write_text("".join(build(worker, *each) for each in mine.items()))
    runtime = "nvidia-container-runtime"
    toolkit = {f"/usr/bin/{runtime}": gpus.folder / "bin" / runtime}
    index = worker.path(f"{REPOSITORY}/toolkit/amd64/Packages")
    index.parent.mkdir(parents=True)
    index.write_text(build(worker, "nvidia-container-toolkit", toolkit, "toolkit/amd64/"))
    worker.path(f"{REPOSITORY}/key").write_text("a key, stood in for\n")
    worker.path("/etc/apt/apt.conf.d/99unsigned").write_text(UNSIGNED)
    worker.path("/etc/apt/sources.list").unlink(missing_ok=True)
    worker.path("/etc/systemd/system/repository.service").write_text(SERVER)
    sh(worker, "systemctl enable --now repository")
    return worker


@pytest.fixture(scope="module")
def healthy(worker: Host, gpus: Any) -> Any:
    """All of the rest that a healthy host has."""
    worker.path(f"{PLACE}/installed").touch()
    config = "/var/lib/rancher/k3s/agent/etc/containerd"
    sh(
        worker,
        f"""
        mkdir -p {config} /usr/local/nvidia/lib64
        cp {PLACE}/config.toml {config}
        ln -sf {PLACE}/bin/* /usr/local/bin
        cp -P {PLACE}/lib/* /usr/local/nvidia/lib64
        systemctl restart gpu-stand-in
        """,
    )
    return gpus


class TestTheRole:
    """In order, on one host: nothing is touched unasked, then driver and toolkit are installed."""

    def play(self, driver: Driver, **nvidia: Any) -> Ran:
        def edit(data: Any) -> None:
            mirror = {"nvidia_debian_mirror": URL}
            urls = {"toolkit_repo": f"{URL}/toolkit", "toolkit_key": f"{URL}/key"}
            data["defaults"].update(gpu=True, vars=mirror, nvidia={**urls, **nvidia})

        site = driver.home / "site.yaml"
        site.write_text(SITE)
        words = ["-i", str(driver.inventory(edit)), "--limit", "w2", "--output", "json"]
        argv = [str(Path(sys.executable).with_name("b9prov")), "play", str(site), *words]
        begun = time.monotonic()
        done = subprocess.run(argv, env=driver.env, capture_output=True, text=True, timeout=120)
        return Ran(done.returncode, done.stdout, done.stderr, time.monotonic() - begun)

    LOOK = "dpkg-query -W; ls -R /etc/apt /usr/local; cat /proc/sys/kernel/random/boot_id"

    def test_unasked_nothing_is_touched(self, driver: Driver, packages: Host) -> None:
        before = sh(packages, self.LOOK)
        ran = self.play(driver, driver_branch=570, reboot=True, mig=["1g.10gb"])
        assert (ran.code, ran.changed()) == (0, {"w2": 0}), tail(ran)
        assert sh(packages, self.LOOK) == before

    def test_a_driver_is_installed_and_waits_for_a_reboot(
        self, driver: Driver, packages: Host
    ) -> None:
        ran = self.play(driver, install_driver=True)
        assert ran.code == 1, tail(ran)
        assert "reboot the host" in ran.end("w2")["reason"]
        assert "nvidia-kernel-dkms" in sh(packages, "dpkg-query -W")

    def test_where_it_may_it_reboots_and_proves_the_driver(
        self, driver: Driver, packages: Host
    ) -> None:
        sh(packages, "touch /run/of-this-boot")
        ran = self.play(driver, install_driver=True, reboot=True, toolkit=True)
        assert ran.code == 0, tail(ran)
        assert sh(packages, "ls /run/of-this-boot 2>/dev/null || echo rebooted") == "rebooted"
        assert sh(packages, "command -v nvidia-container-runtime")
        again = self.play(driver, install_driver=True, reboot=True, toolkit=True)
        assert (again.code, again.changed()) == (0, {"w2": 0}), tail(again)

    def test_mig_slices_are_cut_when_that_is_allowed(self, driver: Driver, packages: Host) -> None:
        folder = packages.path("/opt/mig-stand-in")
        folder.mkdir()
        shutil.copy(REPLAYS.with_name("nvidia_smi_stand_in.py"), folder)
        shutil.copy(REPLAYS.with_name("recorded") / "a100-mig.xml", folder)
        known = {"mig": False, "slices": [], "processes": "", "stuck": False, "calls": []}
        (folder / "state.json").write_text(json.dumps(known))
        program = "/opt/mig-stand-in/nvidia_smi_stand_in.py"
        sh(packages, f"chmod 755 {program}; ln -s {program} /usr/local/bin/nvidia-smi")
        slices = ["3g.40gb", "3g.40gb"]
        for changes in (1, 0):
            ran = self.play(driver, mig=slices, allow_reconfigure=True)
            assert (ran.code, ran.changed()) == (0, {"w2": changes}), tail(ran)
        assert json.loads((folder / "state.json").read_text())["slices"] == slices


class TestTheTable:
    """After the role's, and its packages."""

    def test_healthy(self, driver: Driver, healthy: Any) -> None:
        ran = check(driver)
        assert (ran.code, ran.err, failed(ran)) == (0, "", set()), tail(ran)
        found = rows(ran)
        assert found["CUDA"]["found"] == "CUDA 12.4, 8 GPUs"
        assert found["fabric manager"]["found"] == "4 NVSwitches, it runs"
        assert found["allocatable"]["ok"] and found["container toolkit"]["ok"]
        assert found["Ollama on the GPU"]["severity"] == "skip"
        again = rows(check(driver))
        assert {n: r["ok"] for n, r in again.items()} == {n: r["ok"] for n, r in found.items()}

    def test_sick(self, driver: Driver, worker: Host, healthy: Any) -> None:
        healthy.library("libcuda", CODE=802)
        healthy.says("journalctl", replays().SAID["xid_79"])
        sh(worker, f"cp -P {PLACE}/lib/* /usr/local/nvidia/lib64")
        junit = driver.home / "gpu.xml"
        ran = check(driver, "--junit", str(junit))
        assert ran.code == 1
        assert failed(ran) == {"CUDA", "fabric manager", "Xid errors"}
        assert ElementTree.parse(junit).getroot().get("failures") == "3"
        shown = check(driver, output="plain")
        assert shown.code == 1 and "3 failed" in shown.out.splitlines()[-1]
        assert "install nvidia-fabricmanager of exactly version 565.57.01" in shown.out


def build(host: Host, name: str, files: dict[str, Path | None], below: str = "") -> str:
    """A package with these files in it, and its entry in an index."""
    tree = host.path(f"{REPOSITORY}/build/{name}")
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(CONTROL.format(name))
    for path, source in files.items():
        file = tree / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        if source and source.is_symlink():
            file.symlink_to(source.readlink())
        else:
            file.write_bytes(source.read_bytes() if source else b"")
            file.chmod(0o755)
    deb = host.path(f"{REPOSITORY}/{below}{name}.deb")
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "--build", tree, deb], check=True, capture_output=True
    )
    data = deb.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    return f"{CONTROL.format(name)}Filename: {deb.name}\nSize: {len(data)}\nSHA256: {digest}\n\n"
