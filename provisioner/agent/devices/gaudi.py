"""Intel Gaudi: what the kernel's habanalabs shows in /sys.

Source: https://docs.kernel.org/admin-guide/abi-testing.html (sysfs-driver-habanalabs)
"""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices import pci
from provisioner.agent.devices.device import Device, numbered, text

_WELL = "operational"


class Gaudi:
    """The accelerators of habanalabs."""

    name = "gaudi"

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self) -> list[Device]:
        version = text(self._root / "sys/module/habanalabs/version")
        paths = [
            path / "device"
            for path in numbered(self._root / "sys/class/accel", "accel[0-9]*")
            if text(path / "device/device_type")
        ]
        return [_device(index, path, version) for index, path in enumerate(paths)]


def _device(index: int, path: Path, version: str) -> Device:
    status = text(path / "status")
    well = status.lower() == _WELL
    return Device(
        "gaudi",
        index,
        f"Intel {text(path / 'device_type').title()}",
        driver=version,
        problem="" if well else f"its driver says {status or 'nothing'}",
        details={"pci": text(path / "pci_addr") or pci.address(path)},
    )
