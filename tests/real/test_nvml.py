"""NVIDIA GPUs by nvidia-ml-py over a stand-in for NVIDIA's library, compiled here.

What is asked goes all the way: a process of its own, nvidia-ml-py, ctypes, a shared library.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.agent.build import build_zipapp
from provisioner.agent.devices import Device, Tool
from provisioner.agent.devices.nvidia import Nvidia

SOURCE = Path(__file__).with_name("nvml_stand_in.c")
SLICE = {"compute_instance": 0, "memory": 4864}


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with libnvidia-ml.so.1; gcc is one of the packages that these tests need."""
    folder = tmp_path_factory.mktemp("nvml")
    output = folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", output, SOURCE], check=True)
    return folder


Box = Callable[..., Nvidia]


@pytest.fixture
def box(library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    """Makes a machine whose driver shows a GPU, with a library that answers as `scenario`."""

    def make(scenario: str, smi: str = "", installed: bool = True) -> Nvidia:
        gpu = tmp_path / "proc/driver/nvidia/gpus/0000:0f:00.0/information"
        gpu.parent.mkdir(parents=True, exist_ok=True)
        gpu.write_text("Model: \t\t NVIDIA H100 80GB HBM3\n")
        tools = tmp_path / "bin"
        tools.mkdir(exist_ok=True)
        if smi:
            (tools / "nvidia-smi").write_text(f"#!/bin/sh\n{smi}\n")
            (tools / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}:/usr/bin:/bin")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library if installed else tmp_path))
        monkeypatch.setenv("NVML_STAND_IN", scenario)
        return Nvidia(tmp_path, Tool())

    return make


def only(found: Nvidia) -> Device:
    [device] = found.find()
    return device


def test_a_healthy_h100(box: Box) -> None:
    assert only(box("healthy")) == Device(
        "nvidia", 0, "NVIDIA H100 80GB HBM3", 81559, 80994, "550.90.07", 34.0, 71.2, "",
        {
            "uuid": "GPU-11111111-2222-3333-4444-555555555555",
            "pci": "00000000:0F:00.0",
            "cuda": "12.4",
            "mig": False,
            "slices": [],
            "ecc": True,
            "uncorrected_errors": 0,
            "persistence": True,
            "power_limit": 700.0,
            "processes": [{"pid": 4711, "memory": 1024}, {"pid": 4712, "memory": None}],
        },
    )  # fmt: skip


def test_an_a100_in_mig_mode(box: Box) -> None:
    found = box("A100 in MIG mode")
    gpu = only(found)
    assert (gpu.name, gpu.memory, gpu.details["mig"]) == ("NVIDIA A100-SXM4-40GB", 40960, True)
    assert gpu.details["slices"] == [
        {"index": 0, "gpu_instance": 7, **SLICE},
        {"index": 1, "gpu_instance": 8, **SLICE},
    ]
    assert "processes" not in gpu.details  # who is not root is not told
    assert found.free(1) == 0


@pytest.mark.parametrize(
    ("scenario", "problem"),
    [
        ("sick memory", "2 uncorrected errors of its memory since boot"),
        ("rows wait", "pages of its memory wait to be retired: reset it, or reboot"),
        ("no ECC", ""),
    ],
)
def test_its_memory(box: Box, scenario: str, problem: str) -> None:
    gpu = only(box(scenario))
    assert (gpu.problem, gpu.details["ecc"]) == (problem, scenario != "no ECC")


def test_a_gpu_that_is_lost_beside_one_that_is_well(box: Box) -> None:
    well, lost = box("lost").find()
    assert (well.problem, well.memory) == ("", 81559)
    assert (lost.number, lost.memory) == (1, None)
    assert lost.problem == "NVML: GPU is lost"


def test_drivers_of_other_times(box: Box) -> None:
    assert only(box("newer driver")).temperature == 36.0
    assert len(only(box("older driver")).details["processes"]) == 2


@pytest.mark.parametrize(
    ("scenario", "problem"),
    [
        ("mismatch", "NVML: RM has detected an NVML/RM version mismatch."),
        ("no driver", "NVML: Driver Not Loaded"),
        ("no device", "its driver does not list it"),
    ],
)
def test_what_nvml_refuses_nvidia_smi_is_not_asked_for(
    box: Box, tmp_path: Path, scenario: str, problem: str
) -> None:
    gpu = only(box(scenario, smi=f"touch {tmp_path}/asked"))
    assert (gpu.name, gpu.problem) == ("NVIDIA H100 80GB HBM3", problem)
    assert not (tmp_path / "asked").exists()


def test_a_library_that_hangs(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("provisioner.agent.devices.tool.DEADLINE", 2.0)
    found, began = box("hangs"), time.monotonic()
    assert only(found).problem == "NVML did not answer within 2 s"
    assert time.monotonic() - began < 4
    again = only(found)  # at once the first may not have ended yet, and no second is begun then
    assert again.problem in ("NVML still hangs", "NVML did not answer within 2 s")


SMI = """<nvidia_smi_log><driver_version>550.1</driver_version>
<gpu id="1"><product_name>by nvidia-smi</product_name></gpu></nvidia_smi_log>"""


@pytest.mark.parametrize("scenario", ["crashes", "not installed"])
def test_without_nvml_nvidia_smi_is_asked(box: Box, scenario: str) -> None:
    installed = scenario != "not installed"
    gpu = only(box(scenario, f"cat <<'EOF'\n{SMI}\nEOF", installed))
    assert (gpu.name, gpu.driver, gpu.problem) == ("by nvidia-smi", "550.1", "")


def test_without_either_there_is_what_the_driver_shows(box: Box) -> None:
    gpu = only(box("", installed=False))
    assert (gpu.name, gpu.problem) == ("NVIDIA H100 80GB HBM3", "nvidia-smi is not installed")


@pytest.mark.parametrize(("scenario", "free"), [("idle", 1), ("healthy", 0), ("mismatch", 0)])
def test_idle_ones_where_there_is_no_nvidia_smi(box: Box, scenario: str, free: int) -> None:
    assert box(scenario).free(1) == free


def test_out_of_the_zipapp(library: Path, tmp_path: Path) -> None:
    """nvidia-ml-py is in it: no package of the host's is used."""
    zipapp = tmp_path / "b9agent.pyz"
    build_zipapp(zipapp)
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
    (tmp_path / "nvidia-smi").chmod(0o755)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "LD_LIBRARY_PATH": str(library),
        "NVML_STAND_IN": "healthy",
    }
    argv = [getattr(sys, "_base_executable", sys.executable), "-I", zipapp, "devices", "--json"]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, cwd="/")
    [gpu] = as_json(done.stdout)
    assert (gpu["name"], gpu["driver"]) == ("NVIDIA H100 80GB HBM3", "550.90.07")
    assert done.returncode == 0


def as_json(text: str) -> list[dict[str, Any]]:
    devices: list[dict[str, Any]] = json.loads(text)["devices"]
    return devices
