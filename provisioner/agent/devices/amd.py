"""AMD GPUs: what the kernel's amdgpu shows in /sys.

Source: https://docs.kernel.org/gpu/amdgpu/driver-misc.html
"""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices import pci
from provisioner.agent.devices.device import Device, mebibytes, numbered, scaled, text, whole

VENDOR = 0x1002


class Amd:
    """Graphics cards; ROCm works on those that amdkfd opens as /dev/kfd."""

    name = "amd"

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self) -> list[Device]:
        compute = (self._root / "dev/kfd").exists()
        version = text(self._root / "sys/module/amdgpu/version")
        found = pci.cards(self._root, VENDOR)
        return [_device(index, path, version, compute) for index, path in enumerate(found)]


def _device(index: int, path: Path, version: str, compute: bool) -> Device:
    sensors = next(iter(numbered(path / "hwmon", "hwmon*")), path)
    total, used = (mebibytes(path / f"mem_info_vram_{name}") for name in ("total", "used"))
    power = scaled(sensors / "power1_average", 1e6)
    product = text(path / "device")
    problem = ""
    if pci.driver(path) != "amdgpu":
        problem = "the driver amdgpu does not have it: load it"
    elif not compute:
        problem = "there is no /dev/kfd: ROCm can't use it"
    return Device(
        "amd",
        index,
        text(path / "product_name") or f"AMD GPU {product}",
        total,
        None if total is None or used is None else total - used,
        version,
        scaled(sensors / "temp1_input", 1000),
        scaled(sensors / "power1_input", 1e6) if power is None else power,
        problem,
        {"pci": pci.address(path), "device": product, "busy": whole(path / "gpu_busy_percent")},
    )
