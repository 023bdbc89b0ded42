"""Intel GPUs with memory of their own (Arc, Flex, Max): what i915 or xe shows in /sys."""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices import pci
from provisioner.agent.devices.device import Device, mebibytes, numbered, scaled, text

VENDOR = 0x8086
_DRIVERS = ("i915", "xe")


class Intel:
    """Graphics cards; those that use the machine's memory are no accelerators."""

    name = "intel"

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self) -> list[Device]:
        found = [path for path in pci.cards(self._root, VENDOR) if _is_discrete(path)]
        return [_device(index, path) for index, path in enumerate(found)]


def _is_discrete(path: Path) -> bool:
    # the one in the processor is always the second device of the first bus
    return pci.address(path) != "0000:00:02.0"


def _device(index: int, path: Path) -> Device:
    sensors = next(iter(numbered(path / "hwmon", "hwmon*")), path)
    product, driver = text(path / "device"), pci.driver(path)
    memory = mebibytes(path.parent / "lmem_total_bytes")
    return Device(
        "intel",
        index,
        f"Intel GPU {product}",
        mebibytes(path / "tile0/physical_vram_size_bytes") if memory is None else memory,
        driver=driver,
        temperature=scaled(sensors / "temp1_input", 1000),
        problem="" if driver in _DRIVERS else "neither i915 nor xe has it: load one of them",
        details={"pci": pci.address(path), "device": product},
    )
