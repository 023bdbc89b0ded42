"""Cards and PCI devices as /sys shows them."""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices.device import numbered, text, whole


def cards(root: Path, vendor: int) -> list[Path]:
    """The device folders of a vendor's graphics cards, `/sys/class/drm/cardN/device`."""
    return [
        card / "device"
        for card in numbered(root / "sys/class/drm", "card[0-9]*")
        if "-" not in card.name and whole(card / "device/vendor") == vendor
    ]


def functions(root: Path, vendor: int, products: dict[int, str]) -> list[tuple[Path, str]]:
    """The PCI functions of a vendor that are one of `products`, with its name."""
    found = []
    for path in sorted((root / "sys/bus/pci/devices").glob("*")):
        product = whole(path / "device")
        if whole(path / "vendor") == vendor and product in products:
            found.append((path, products[product]))
    return found


def address(device: Path) -> str:
    """`0000:41:00.0`, as the kernel's uevent has it, else the folder's name."""
    prefix = "PCI_SLOT_NAME="
    lines = text(device / "uevent").splitlines()
    return next((line[len(prefix) :] for line in lines if line.startswith(prefix)), device.name)


def driver(device: Path) -> str:
    """The name of the driver that has the device; empty when none has."""
    link = device / "driver"
    return link.resolve().name if link.exists() else ""
