"""Xids: what NVIDIA's driver has told the kernel's log of its GPUs since the boot.

Only root may read that log.
Source: https://docs.nvidia.com/deploy/xid-errors/
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from provisioner.agent.devices.device import Device

_LINE = re.compile(r"NVRM: Xid \(PCI:([0-9a-fA-F:.]+)\): (\d+)")
_SIZE_LIMIT = 16 << 20  # bytes; the log is smaller than that
# those that no program on the GPU is to blame for, and that a reset at least is needed after
_GRAVE = {
    48: "an error of its memory that could not be corrected",
    64: "a row of its memory could not be remapped",
    74: "an error of its NVLink",
    79: "it has fallen off the bus",
    95: "an error of its memory that could not be contained",
    119: "its system processor does not answer",
    120: "its system processor failed",
    140: "an error of its memory that could not be recovered from",
}


def added(devices: list[Device], root: Path) -> list[Device]:
    """The devices with their Xids in `details`; a grave one is a problem, if they have no other."""
    told = _told(root / "dev/kmsg")
    return devices if told is None else [_with(each, told) for each in devices]


def _with(device: Device, told: list[tuple[str, int]]) -> Device:
    place = _place(str(device.details.get("pci", "")))
    numbers = [number for where, number in told if place and where == place]
    grave = next((n for n in reversed(numbers) if n in _GRAVE), None)
    problem = "" if grave is None else f"Xid {grave} since boot: {_GRAVE[grave]}; reset it"
    return device._replace(
        details={**device.details, "xids": sorted(set(numbers))},
        problem=device.problem or problem,
    )


def _told(log: Path) -> list[tuple[str, int]] | None:
    """Place and number of each Xid, None where the log can't be read."""
    try:
        text = _read(log)
    except OSError:
        return None
    return [(_place(where), int(number)) for where, number in _LINE.findall(text)]


def _place(pci: str) -> str:
    """`0000:0f:00` for each of `00000000:0F:00.0`, `0000:0f:00` and `0f:00.0`."""
    *domain, bus, device = ["", *pci.lower().partition(".")[0].split(":")]
    return f"{(domain[-1:] or ['0'])[0][-4:]:0>4}:{bus}:{device}"


def _read(log: Path) -> str:
    """What is in the log now. Raises OSError."""
    descriptor = os.open(log, os.O_RDONLY | os.O_NONBLOCK)
    text = bytearray()
    with open(descriptor, "rb", buffering=0):
        while len(text) < _SIZE_LIMIT:
            try:
                record = os.read(descriptor, 8192)
            except BrokenPipeError:  # one was overwritten before it was read
                continue
            except BlockingIOError:  # it was the last
                break
            if not record:
                break
            text += record
    return text.decode(errors="replace")
