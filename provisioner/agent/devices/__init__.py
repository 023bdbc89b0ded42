"""The accelerators of this machine, whoever made them: one module per kind.

A kind looks in device files and in /sys, and asks the vendor's tool only where there is something
to ask about. None of them raises: what can't be told is said of the device.
"""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices.device import Device, Kind
from provisioner.agent.devices.tool import Tool

__all__ = ["Device", "Kind", "Tool", "find_devices", "kinds"]


def kinds(root: Path = Path("/"), tool: Tool | None = None) -> list[Kind]:
    """All kinds, that of the CPU last. `root` is where /sys, /dev and /proc are."""
    from provisioner.agent.devices.amd import Amd
    from provisioner.agent.devices.apple import Apple
    from provisioner.agent.devices.cpu import Cpu
    from provisioner.agent.devices.gaudi import Gaudi
    from provisioner.agent.devices.intel import Intel
    from provisioner.agent.devices.neuron import Neuron
    from provisioner.agent.devices.nvidia import Nvidia
    from provisioner.agent.devices.tpu import Tpu

    asked = tool or Tool()
    return [
        Nvidia(root, asked),
        Amd(root),
        Intel(root),
        Gaudi(root),
        Tpu(root),
        Neuron(root, asked),
        Apple(asked),
        Cpu(root),
    ]


def find_devices(among: list[Kind] | None = None) -> list[Device]:
    """Every accelerator; the CPU where there is none."""
    found: list[Device] = []
    for kind in kinds() if among is None else among:
        if kind.name != "cpu" or not found:
            found += kind.find()
    return found
