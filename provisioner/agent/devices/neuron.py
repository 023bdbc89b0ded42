"""AWS Trainium and Inferentia: their PCI functions, and `neuron-ls` where it is installed.

Source: https://awsdocs-neuron.readthedocs-hosted.com (neuron-ls, --json-output)
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.agent.devices import pci
from provisioner.agent.devices.device import Device, text
from provisioner.agent.devices.tool import Tool

VENDOR = 0x1D0F
_PRODUCTS = {
    0x7064: "AWS Inferentia",
    0x7164: "AWS Trainium",
    0x7264: "AWS Inferentia2",
    0x7364: "AWS Trainium2",
}


class Neuron:
    """Chips; `cores` in the details are NeuronCores."""

    name = "neuron"

    def __init__(self, root: Path, tool: Tool) -> None:
        self._root = root
        self._tool = tool

    def find(self) -> list[Device]:
        chips = pci.functions(self._root, VENDOR, _PRODUCTS)
        if not chips:
            return []
        listed, problem = self._listed()
        driver = text(self._root / "sys/module/neuron/version")
        if not any((self._root / "dev").glob("neuron[0-9]*")):
            problem = "there is no /dev/neuron*: install aws-neuronx-dkms"
        found = []
        for index, (path, name) in enumerate(chips):
            more = listed.get(path.name.partition(":")[2], {})
            size = more.get("memory_size")
            memory = size >> 20 if isinstance(size, int) else None
            details = {"pci": path.name, "cores": more.get("nc_count")}
            found.append(
                Device("neuron", index, name, memory, driver=driver, problem=problem,
                       details=details)
            )  # fmt: skip
        return found

    def _listed(self) -> tuple[dict[str, dict[str, Any]], str]:
        """What neuron-ls says, by the PCI address without its domain; and why it says nothing."""
        if not self._tool.has("neuron-ls"):
            return {}, ""
        said = self._tool.ask("neuron-ls", "--json-output")
        if said.problem:
            return {}, said.problem
        try:
            entries = json.loads(said.output)
            return {str(entry["bdf"]): dict(entry) for entry in entries}, ""
        except (ValueError, TypeError, KeyError, RecursionError):
            return {}, "neuron-ls's answer can't be read"
