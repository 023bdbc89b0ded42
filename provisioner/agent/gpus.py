"""How many NVIDIA GPUs there are and how many are idle, without ever hanging on a sick driver."""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices.tool import Tool
from provisioner.agent.log import Log

_PROC_GPUS = Path("/proc/driver/nvidia/gpus")


class Gpus:
    """The NVIDIA GPUs of this machine. `nvidia-smi` is run only where there is a driver or tool."""

    def __init__(self, log: Log, directory: Path = _PROC_GPUS, tool: str = "nvidia-smi") -> None:
        self._log = log
        self._directory = directory
        self._name, self._tool = tool, Tool()
        self._unhealthy = False

    def count(self) -> int:
        """GPUs that the driver shows; 0 without a driver."""
        try:
            return sum(1 for _ in self._directory.iterdir())
        except OSError:
            listing = self._ask("-L")
            return sum(line.startswith("GPU ") for line in (listing or "").splitlines())

    def free(self, total: int) -> int:
        """Of `total` GPUs those without a compute process; 0 while the driver does not answer."""
        if not total:
            return 0
        listing = self._ask("--query-compute-apps=gpu_uuid", "--format=csv,noheader")
        if listing is None:
            return 0
        busy = {line.strip() for line in listing.splitlines() if line.startswith("GPU-")}
        return max(0, total - len(busy))

    def _ask(self, *arguments: str) -> str | None:
        """What nvidia-smi says, None without a good answer in time; trouble is told once."""
        if not self._tool.has(self._name):
            return None
        said = self._tool.ask(self._name, *arguments)
        if said.problem and not self._unhealthy:
            self._log.warning(f"GPUs are unhealthy: {said.problem}")
        self._unhealthy = bool(said.problem)
        return None if said.problem else said.output
