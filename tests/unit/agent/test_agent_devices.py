"""Accelerators of every kind, as /sys, device files and the vendors' tools show them.

The trees and outputs have the shape of the real ones, after the vendors' documentation.
"""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.agent.cli import main
from provisioner.agent.devices import Tool, find_devices, kinds, nvml
from provisioner.agent.devices.apple import Apple
from provisioner.agent.devices.device import Told
from provisioner.agent.devices.show import line

NVIDIA = """<?xml version="1.0" ?>
<!DOCTYPE nvidia_smi_log SYSTEM "nvsmi_device_v12.dtd">
<nvidia_smi_log>
  <driver_version>550.90.07</driver_version>
  <cuda_version>12.4</cuda_version>
  <attached_gpus>1</attached_gpus>
  <gpu id="00000000:0F:00.0">
    <product_name>NVIDIA H100 80GB HBM3</product_name>
    <persistence_mode>Enabled</persistence_mode>
    <mig_mode><current_mig>{mig}</current_mig></mig_mode>
    <mig_devices>{slices}</mig_devices>
    <uuid>GPU-11111111-2222-3333-4444-555555555555</uuid>
    <fb_memory_usage><total>81559 MiB</total><free>{free}</free></fb_memory_usage>
    <ecc_mode><current_ecc>Enabled</current_ecc></ecc_mode>
    <ecc_errors>
      <volatile><dram_correctable>7</dram_correctable>{errors}</volatile>
      <aggregate><dram_uncorrectable>9</dram_uncorrectable></aggregate>
    </ecc_errors>
    <remapped_rows>
      <remapped_row_pending>{pending}</remapped_row_pending>
      <remapped_row_failure>{failure}</remapped_row_failure>
    </remapped_rows>
    <temperature><gpu_temp>34 C</gpu_temp></temperature>
    <gpu_power_readings>
      <power_draw>71.20 W</power_draw>
      <current_power_limit>700.00 W</current_power_limit>
    </gpu_power_readings>
    <processes>
      <process_info>
        <pid>17</pid><type>C</type><used_memory>1024 MiB</used_memory>
      </process_info>
      <process_info><pid>18</pid><type>G</type></process_info>
    </processes>
  </gpu>
</nvidia_smi_log>
"""
SLICE = """<mig_device><index>0</index><gpu_instance_id>3</gpu_instance_id>
<compute_instance_id>0</compute_instance_id>
<fb_memory_usage><total>9856 MiB</total></fb_memory_usage></mig_device>"""
WELL = {
    "mig": "Disabled",
    "slices": "None",
    "free": "80994 MiB",
    "errors": "<dram_uncorrectable>0</dram_uncorrectable>",
    "pending": "No",
    "failure": "No",
}
PCI = "sys/bus/pci/devices"
CARD = "sys/class/drm/card0/device"


class Box:
    """A machine's /sys, /proc and /dev, and its tools."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.bin = root, root / "bin"
        self.bin.mkdir()
        monkeypatch.setattr(nvml, "ask", lambda tool: Told([], "no NVML here", missing=True))
        monkeypatch.setenv("PATH", f"{self.bin}:/usr/bin:/bin")

    def write(self, files: dict[str, str]) -> None:
        for name, content in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content + "\n")

    def driver(self, device: str, name: str) -> None:
        driver = self.root / "sys/bus/pci/drivers" / name
        driver.mkdir(parents=True)
        (self.root / device / "driver").symlink_to(driver)

    def tool(self, name: str, script: str) -> None:
        path = self.bin / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def nvidia_smi(self, output: str) -> None:
        self.write({"nvidia-smi.xml": output})
        self.tool("nvidia-smi", f'[ "$*" = "-q -x" ] && cat {self.root}/nvidia-smi.xml')

    def find(self) -> list[Any]:
        return find_devices(kinds(self.root, Tool()))

    def only(self) -> Any:
        [device] = self.find()
        return device


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Box:
    return Box(tmp_path, monkeypatch)


class TestNvidia:
    def test_well(self, box: Box) -> None:
        box.nvidia_smi(NVIDIA.format(**WELL))
        gpu = box.only()
        assert (gpu.kind, gpu.name, gpu.driver) == ("nvidia", "NVIDIA H100 80GB HBM3", "550.90.07")
        assert (gpu.memory, gpu.memory_free, gpu.temperature) == (81559, 80994, 34.0)
        assert (gpu.power, gpu.problem) == (71.2, "")
        assert gpu.details["processes"] == [{"pid": 17, "memory": 1024}]
        assert (gpu.details["cuda"], gpu.details["mig"]) == ("12.4", False)

    def test_slices(self, box: Box) -> None:
        box.nvidia_smi(NVIDIA.format(**{**WELL, "mig": "Enabled", "slices": SLICE, "free": "N/A"}))
        gpu = box.only()
        assert (gpu.details["mig"], gpu.memory_free) == (True, None)
        [slice] = gpu.details["slices"]
        assert (slice["gpu_instance"], slice["memory"]) == (3, 9856)

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"errors": "<dram_uncorrectable>2</dram_uncorrectable>"}, "2 uncorrected errors"),
            ({"pending": "Yes"}, "wait to be retired"),
            ({"failure": "Yes"}, "have it replaced"),
        ],
    )
    def test_sick_memory(self, box: Box, change: dict[str, str], problem: str) -> None:
        box.nvidia_smi(NVIDIA.format(**{**WELL, **change}))
        assert problem in box.only().problem

    @pytest.mark.parametrize(
        ("script", "problem"),
        [
            ("exit 9", "failed with 9"),
            ("echo '<nvidia_smi_log><gpu>'", "can't be read"),
            ("exec sleep 60", "did not answer within 0.3 s"),
        ],
    )
    def test_a_tool_that_does_not_answer(
        self, box: Box, monkeypatch: pytest.MonkeyPatch, script: str, problem: str
    ) -> None:
        monkeypatch.setattr("provisioner.agent.devices.tool.DEADLINE", 0.3)
        box.tool("nvidia-smi", script)
        module = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.90.07  Fri May 31 2024"
        gpu = "proc/driver/nvidia/gpus/0000:0f:00.0/information"
        box.write({"proc/driver/nvidia/version": module, gpu: "Model: \t\t NVIDIA A10"})
        began = time.monotonic()
        found = box.only()
        assert time.monotonic() - began < 3
        assert (found.name, found.driver) == ("NVIDIA A10", "550.90.07")
        assert problem in found.problem

    @pytest.mark.parametrize("place", ["0000:0f:00", "00000000:0F:00.0", "0f:00"])
    def test_what_the_kernel_was_told_of(self, box: Box, place: str) -> None:
        box.nvidia_smi(NVIDIA.format(**WELL))
        assert "xids" not in box.only().details  # only root may read that
        log = "6,1,2,-;usb 1-1: new\n4,7,8,-;NVRM: Xid (PCI:0000:1f:00): 79, pid=1, fallen\n"
        box.write({"dev/kmsg": log})
        assert (box.only().details["xids"], box.only().problem) == ([], "")
        log += f"4,9,9,-;NVRM: Xid (PCI:{place}): 31, pid=17, name=python, MMU Fault\n"
        box.write({"dev/kmsg": log})
        assert (box.only().details["xids"], box.only().problem) == ([31], "")
        log += f"4,9,9,-;NVRM: Xid (PCI:{place}): 79, GPU has fallen off the bus.\n"
        box.write({"dev/kmsg": log})
        assert box.only().problem == "Xid 79 since boot: it has fallen off the bus; reset it"
        assert "Xids: 31, 79" in line(box.only())

    def test_a_tool_that_hangs_is_not_started_again(
        self, box: Box, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("provisioner.agent.devices.tool.DEADLINE", 0.2)
        tool = Tool()
        box.tool("stubborn", "trap '' TERM; exec sleep 60")
        assert "did not answer" in tool.ask("stubborn").problem
        process = tool._stuck["stubborn"]
        monkeypatch.setattr(process, "poll", lambda: None)
        assert tool.ask("stubborn").problem == "stubborn still hangs"
        monkeypatch.undo()
        process.wait(10)
        monkeypatch.setenv("PATH", f"{box.bin}:/usr/bin:/bin")
        box.tool("stubborn", "echo well")
        assert tool.ask("stubborn").output == "well\n"


def test_amd(box: Box) -> None:
    files = {
        "vendor": "0x1002",
        "device": "0x74a1",
        "uevent": "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:05:00.0",
        "mem_info_vram_total": str(192 << 30),
        "mem_info_vram_used": str(1 << 30),
        "gpu_busy_percent": "3",
        "hwmon/hwmon4/temp1_input": "41000",
        "hwmon/hwmon4/power1_average": "142000000",
    }
    box.write({f"{CARD}/{name}": content for name, content in files.items()})
    box.write({"sys/module/amdgpu/version": "6.8.5", "sys/class/drm/card0-DP-1/status": "off"})
    assert "amdgpu does not have it" in box.only().problem
    box.driver(CARD, "amdgpu")
    assert "there is no /dev/kfd" in box.only().problem
    box.write({"dev/kfd": ""})
    gpu = box.only()
    assert (gpu.name, gpu.problem, gpu.driver) == ("AMD GPU 0x74a1", "", "6.8.5")
    assert (gpu.memory, gpu.memory_free) == (196608, 195584)
    assert (gpu.temperature, gpu.power) == (41.0, 142.0)
    assert gpu.details == {"pci": "0000:05:00.0", "device": "0x74a1", "busy": 3}


def test_intel(box: Box) -> None:
    box.write(
        {
            f"{CARD}/vendor": "0x8086",
            f"{CARD}/uevent": "PCI_SLOT_NAME=0000:00:02.0",
            f"{CARD.replace('card0', 'card1')}/vendor": "0x8086",
            f"{CARD.replace('card0', 'card1')}/device": "0x56a0",
            f"{CARD.replace('card0', 'card1')}/uevent": "PCI_SLOT_NAME=0000:03:00.0",
            "sys/class/drm/card1/lmem_total_bytes": str(16 << 30),
        }
    )
    assert "neither i915 nor xe" in box.only().problem
    box.driver(CARD.replace("card0", "card1"), "i915")
    gpu = box.only()  # the one in the processor is none
    assert (gpu.name, gpu.memory, gpu.driver) == ("Intel GPU 0x56a0", 16384, "i915")


def test_gaudi(box: Box) -> None:
    place = "sys/class/accel/accel0/device"
    box.write({f"{place}/device_type": "GAUDI2", f"{place}/status": "Operational"})
    assert (box.only().name, box.only().problem) == ("Intel Gaudi2", "")
    box.write({f"{place}/status": "Malfunction"})
    assert box.only().problem == "its driver says Malfunction"


def test_tpu(box: Box) -> None:
    for number in range(4):
        place = f"{PCI}/0000:00:0{number + 4}.0"
        box.write({f"{place}/vendor": "0x1ae0", f"{place}/device": "0x0063"})
    assert {d.problem for d in box.find()} == {"there is neither /dev/accel* nor /dev/vfio/*"}
    box.write({"dev/vfio/0": ""})
    assert [(d.number, d.name, d.problem) for d in box.find()] == [
        (number, "TPU v5e", "") for number in range(4)
    ]


def test_neuron(box: Box) -> None:
    place = f"{PCI}/0000:00:1e.0"
    box.write({f"{place}/vendor": "0x1d0f", f"{place}/device": "0x7164"})
    assert "install aws-neuronx-dkms" in box.only().problem
    box.write({"dev/neuron0": "", "sys/module/neuron/version": "2.16.7.0"})
    assert (box.only().name, box.only().memory, box.only().problem) == ("AWS Trainium", None, "")
    listed = [{"neuron_device": 0, "bdf": "00:1e.0", "nc_count": 2, "memory_size": 34359738368}]
    box.tool("neuron-ls", f"echo '{json.dumps(listed)}'")
    chip = box.only()
    assert (chip.memory, chip.details["cores"], chip.driver) == (32768, 2, "2.16.7.0")
    box.tool("neuron-ls", "echo nonsense")
    assert "can't be read" in box.only().problem


def test_apple(box: Box) -> None:
    shown = {"sppci_model": "Apple M2 Max", "sppci_cores": "38",
             "spdisplays_mtlgpufamilysupport": "spdisplays_metal3"}  # fmt: skip
    box.tool("system_profiler", f"echo '{json.dumps({'SPDisplaysDataType': [shown]})}'")
    assert Apple(Tool(), "linux").find() == []
    [chip] = Apple(Tool(), "darwin").find()
    assert (chip.name, chip.details) == ("Apple M2 Max", {"cores": "38"})
    box.tool("system_profiler", "echo '[]'")
    assert Apple(Tool(), "darwin").find() == []


def test_the_processor_where_there_is_nothing_else(box: Box) -> None:
    box.write({"proc/cpuinfo": "processor\t: 0\nmodel name\t: Some Xeon",
               "proc/meminfo": "MemTotal:  16384000 kB\nMemAvailable:  8192000 kB"})  # fmt: skip
    cpu = box.only()
    assert (cpu.kind, cpu.name, cpu.memory, cpu.memory_free) == ("cpu", "Some Xeon", 16000, 8000)
    assert cpu.details == {"threads": os.cpu_count()}


def test_a_line(box: Box) -> None:
    box.nvidia_smi(NVIDIA.format(**{**WELL, "mig": "Enabled", "slices": SLICE, "pending": "Yes"}))
    assert line(box.only()) == (
        "nvidia 0, NVIDIA H100 80GB HBM3, 81559 MiB (80994 free), driver 550.90.07, MIG slices: 1, "
        "34 °C, 71.2 W, processes: 1, "
        "PROBLEM: pages of its memory wait to be retired: reset it, or reboot"
    )


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """On this machine, whatever it has."""
    code = main(["devices", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["schema"] == 1 and shown["devices"]
    assert code == int(any(device["problem"] for device in shown["devices"]))
    assert main(["devices"]) == code
    assert len(capsys.readouterr().out.splitlines()) == len(shown["devices"])
    assert main(["devices", "all"]) == 2
