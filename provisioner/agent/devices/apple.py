"""The GPU of an Apple chip, as `system_profiler` tells it; its memory is the machine's."""

from __future__ import annotations

import json
import sys

from provisioner.agent.devices.device import Device
from provisioner.agent.devices.tool import Tool


class Apple:
    """GPUs that Metal, and so MPS, can use."""

    name = "apple"

    def __init__(self, tool: Tool, platform: str = sys.platform) -> None:
        self._tool = tool
        self._platform = platform

    def find(self) -> list[Device]:
        if self._platform != "darwin":
            return []
        said = self._tool.ask("system_profiler", "SPDisplaysDataType", "-json")
        try:
            entries = [] if said.problem else json.loads(said.output)["SPDisplaysDataType"]
            chips = [entry for entry in entries if _has_metal(entry)]
            return [
                Device(
                    "apple",
                    index,
                    str(entry.get("sppci_model") or entry.get("_name") or "Apple GPU"),
                    details={"cores": entry.get("sppci_cores")},
                )
                for index, entry in enumerate(chips)
            ]
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            return []


def _has_metal(entry: dict[str, object]) -> bool:
    return any("metal" in key or "mtl" in key for key in entry)
