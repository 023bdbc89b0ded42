"""nvidia_check's truth table, on made-up /sys and /proc and a stand-in for nvidia-smi."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed

VERSION = (
    "NVRM version: NVIDIA UNIX {kind}  {version}  Mon Jan  1 00:00:00 UTC 2024\nGCC version:\n"
)
GPU = (
    "{i}, GPU-{i}, NVIDIA H100 80GB HBM3, 00000000:0{i}:00.0, 81559, 550.54.15, "
    "{mig}, Enabled, {ecc}, Enabled, 31"
)


class Host:
    """A host to be looked at."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("sys/bus/pci/devices", "sys/module", "proc", "bin"):
            (folder / name).mkdir(parents=True)

    def device(self, number: int, kind: str = "0x030200", vendor: str = "0x10de") -> None:
        path = self.folder / f"sys/bus/pci/devices/0000:0{number}:00.0"
        path.mkdir()
        (path / "vendor").write_text(vendor + "\n")
        (path / "class").write_text(kind + "\n")

    def driver(self, version: str = "550.54.15", kind: str = "x86_64 Kernel Module") -> None:
        path = self.folder / "proc/driver/nvidia/version"
        path.parent.mkdir(parents=True)
        path.write_text(VERSION.format(kind=kind, version=version))

    def program(self, name: str, script: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def smi(self, *lines: str) -> None:
        self.program("nvidia-smi", "cat <<'END'\n" + "\n".join(lines) + "\nEND")

    @property
    def arguments(self) -> dict[str, Any]:
        return {
            "sysfs": str(self.folder / "sys"),
            "procfs": str(self.folder / "proc"),
            "search_path": str(self.folder / "bin") + ":/bin:/usr/bin",
        }


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def good(host: Host, gpus: int = 1) -> None:
    lines = []
    for i in range(gpus):
        host.device(i)
        lines.append(GPU.format(i=i, mig="Disabled", ecc=0))
    host.driver()
    host.smi(*lines)
    host.program("nvidia-ctk", "exit 0")


def failures(apply: Any, host: Host, **arguments: Any) -> dict[str, dict[str, Any]]:
    with pytest.raises(ModuleFailed) as caught:
        apply("nvidia_check", **host.arguments, **arguments)
    found = {c["name"]: c for c in caught.value.extra["checks"] if not c["ok"]}
    assert all(
        c["fix"] in caught.value.extra["advice"] for c in found.values() if c["severity"] == "error"
    )
    return found


def test_all_is_well(apply: Any, host: Host) -> None:
    good(host, 2)
    result = apply("nvidia_check", **host.arguments, required=True, min_driver="535.54")
    assert result["gpu"] and not result["warnings"] and not result["changed"]
    assert result["driver_version"] == "550.54.15"
    first = result["gpus"][0]
    assert (first["name"], first["memory_mib"]) == ("NVIDIA H100 80GB HBM3", 81559)
    assert (first["mig"], first["ecc_errors"]) == ("Disabled", 0)


@pytest.mark.parametrize("required", ["auto", False])
def test_a_host_without_gpu(apply: Any, host: Host, required: Any) -> None:
    host.device(1, vendor="0x8086")
    result = apply("nvidia_check", **host.arguments, required=required)
    assert not result["gpu"] and result["gpus"] == []


def test_a_host_without_gpu_that_needs_one(apply: Any, host: Host) -> None:
    assert set(failures(apply, host, required=True)) == {"gpu"}


def test_no_driver_and_nouveau(apply: Any, host: Host) -> None:
    host.device(1)
    (host.folder / "sys/module/nouveau").mkdir()
    assert set(failures(apply, host)) == {"nouveau", "driver loaded", "container toolkit"}
    assert apply("nvidia_check", **host.arguments, required=False)["warnings"]


def test_old_driver_and_no_smi(apply: Any, host: Host) -> None:
    host.device(1)
    host.driver("470.10", "Open Kernel Module for x86_64")
    found = failures(apply, host, min_driver="535")
    assert found["driver version"]["found"] == "470.10"
    assert "nvidia-smi" in found


def test_smi_that_hangs_is_killed(apply: Any, host: Host) -> None:
    host.device(1)
    host.driver()
    host.program("nvidia-smi", "sleep 60")
    started = time.monotonic()
    found = failures(apply, host, deadline=0.3)
    assert time.monotonic() - started < 5
    assert "no answer" in found["nvidia-smi answers"]["found"]


def test_version_mismatch(apply: Any, host: Host) -> None:
    host.device(1)
    host.driver()
    host.program(
        "nvidia-smi", "echo Failed to initialize NVML: Driver/library version mismatch; exit 18"
    )
    assert "reboot" in failures(apply, host)["nvidia-smi answers"]["fix"]


def test_a_gpu_that_fell_off_the_bus(apply: Any, host: Host) -> None:
    good(host, 1)
    host.device(5)
    assert failures(apply, host)["gpus usable"]["found"] == 1


def test_ecc_and_mig_are_warnings(apply: Any, host: Host) -> None:
    good(host)
    host.smi(GPU.format(i=0, mig="Enabled", ecc=3))
    assert len(apply("nvidia_check", **host.arguments)["warnings"]) == 2


def test_a_consumer_card_has_no_ecc(apply: Any, host: Host) -> None:
    good(host)
    host.smi(GPU.format(i=0, mig="[N/A]", ecc="[N/A]"))
    result = apply("nvidia_check", **host.arguments)
    assert result["gpus"][0]["mig"] is None and not result["warnings"]


def test_nvswitch_needs_the_fabric_manager(apply: Any, host: Host) -> None:
    good(host)
    host.device(7, kind="0x068000")
    assert "fabric manager" in failures(apply, host)
    (host.folder / "proc/42").mkdir()
    (host.folder / "proc/42/comm").write_text("nv-fabricmanage\n")
    assert apply("nvidia_check", **host.arguments)["gpu"]


def test_toolkit(apply: Any, host: Host) -> None:
    good(host)
    (host.folder / "bin/nvidia-ctk").unlink()
    assert len(apply("nvidia_check", **host.arguments)["warnings"]) == 1
    assert not apply("nvidia_check", **host.arguments, toolkit="ignore")["warnings"]
    assert "container toolkit" in failures(apply, host, toolkit="error")
