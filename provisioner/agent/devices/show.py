"""`b9agent devices`: the accelerators of this machine."""

from __future__ import annotations

import json

from provisioner.agent.devices import Device, find_devices
from provisioner.agent.flags import UsageError, parse


def devices(arguments: list[str]) -> int:
    """Print them; 1 when one can't be worked with. Raises UsageError."""
    flags = parse(arguments, (), ("json",))
    if flags.words:
        raise UsageError("devices takes no arguments")
    found = find_devices()
    if flags.switches.get("json"):
        print(json.dumps({"schema": 1, "devices": [each._asdict() for each in found]}))
    else:
        for each in found:
            print(line(each))
    return 1 if any(each.problem for each in found) else 0


def line(device: Device) -> str:
    """A device in a line."""
    free = "" if device.memory_free is None else f" ({device.memory_free} free)"
    parts = [
        f"{device.kind} {device.number}",
        device.name,
        "" if device.memory is None else f"{device.memory} MiB{free}",
        f"driver {device.driver}" if device.driver else "",
        f"MIG slices: {len(slices)}" if (slices := device.details.get("slices")) else "",
        "" if device.temperature is None else f"{device.temperature:g} °C",
        "" if device.power is None else f"{device.power:g} W",
        f"processes: {len(processes)}" if (processes := device.details.get("processes")) else "",
        f"Xids: {', '.join(map(str, xids))}" if (xids := device.details.get("xids")) else "",
        f"PROBLEM: {device.problem}" if device.problem else "",
    ]
    return ", ".join(part for part in parts if part)
