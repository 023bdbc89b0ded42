"""Google TPUs, by their PCI functions and device files.

Source of the numbers: jax/_src/hardware_utils.py
"""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices import pci
from provisioner.agent.devices.device import Device

VENDOR = 0x1AE0
_PRODUCTS = {
    0x0027: "TPU v2 or v3",
    0x005E: "TPU v4",
    0x0062: "TPU v5p",
    0x0063: "TPU v5e",
    0x006F: "TPU v6e",
}


class Tpu:
    """Chips; programs reach them by /dev/accelN or by vfio."""

    name = "tpu"

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self) -> list[Device]:
        devices = self._root / "dev"
        reached = any(devices.glob("accel[0-9]*")) or any(devices.glob("vfio/[0-9]*"))
        problem = "" if reached else "there is neither /dev/accel* nor /dev/vfio/*"
        return [
            Device("tpu", index, name, problem=problem, details={"pci": path.name})
            for index, (path, name) in enumerate(pci.functions(self._root, VENDOR, _PRODUCTS))
        ]
