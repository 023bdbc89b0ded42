"""NVIDIA GPUs: what each is, and how many are idle. The one place that knows about them.

What each is (`find`) is asked of NVML by nvidia-ml-py, where that is missing of `nvidia-smi`, and
what neither tells is what the driver shows in /proc. How many are idle (`free`) is asked with every
keepalive, and of `nvidia-smi` first: it is C over the same NVML, while a Python with nvidia-ml-py
takes 0.2 s of CPU before it has asked anything (0.3 % of a core at one a minute; measured from the
zipapp, which can keep no compiled form of it). Both are processes of their own with a deadline,
since calls into a sick driver hang.

The unit is the whole GPU, as in the `gpu_count` that the gateway is told: one on any of whose MIG
slices something runs is not idle.
"""

from __future__ import annotations

from pathlib import Path

from provisioner.agent.devices.device import Device, numbered, text
from provisioner.agent.devices.tool import Tool
from provisioner.agent.log import Log

SMI = "nvidia-smi"


class Nvidia:
    """The GPUs of this machine. Where there is no sign of any, nothing is run."""

    name = "nvidia"

    def __init__(self, root: Path, tool: Tool, log: Log | None = None) -> None:
        self._root, self._proc = root, root / "proc/driver/nvidia"
        self._tool, self._log = tool, log
        self._present = 0

    def find(self) -> list[Device]:
        """All of them, with their MIG slices, errors, processes."""
        from provisioner.agent.devices import nvml, smi, xid  # only needed where there are GPUs

        if not self._signs():
            return []
        told = nvml.ask(self._tool)
        if told.missing:
            told = smi.ask(self._tool, SMI)
        found = told.devices or self._shown(told.problem or "its driver does not list it")
        return xid.added(found, self._root)

    def count(self) -> int:
        """How many there are; 0 without a driver."""
        self._present = len(self._gpus())
        if not self._present and self._tool.has(SMI):
            listing = self._smi("-L") or ""
            self._present = sum(line.startswith("GPU ") for line in listing.splitlines())
        elif not self._present:
            self._present = len(self.find())
        return self._present

    def free(self, offered: int) -> int:
        """Of `offered` GPUs those without a compute process; 0 while that can't be told."""
        if not offered:
            return 0
        busy = self._busy()
        if busy is None:
            return 0
        present = max(offered, self._present or self.count())
        return max(0, min(offered, present - busy))

    def _busy(self) -> int | None:
        """How many have compute processes, None where nobody tells."""
        if not self._tool.has(SMI):
            return self._busy_by_nvml()
        listing = self._smi("--query-compute-apps=gpu_uuid", "--format=csv,noheader")
        lines = {line.strip() for line in (listing or "").splitlines()} - {""}
        odd = next((line for line in lines if not line.startswith("GPU-")), "")
        if odd:
            self._note(f"{SMI} does not tell which are busy: {odd}")
        return None if odd or listing is None else len(lines)

    def _busy_by_nvml(self) -> int | None:
        lists = [(each, each.details.get("processes")) for each in self.find()]
        silent = [each for each, listed in lists if listed is None]
        self._note(silent[0].problem or "NVML may not tell which are busy" if silent else "")
        return None if silent or not lists else sum(bool(listed) for _, listed in lists)

    def _smi(self, *arguments: str) -> str | None:
        """What nvidia-smi says, None without a good answer in time."""
        said = self._tool.ask(SMI, *arguments)
        self._note(said.problem)
        return None if said.problem else said.output

    def _note(self, problem: str) -> None:
        if self._log:
            self._log.trouble("GPUs", problem)

    def _signs(self) -> bool:
        control = self._root / "dev/nvidiactl"
        return bool(self._gpus()) or control.exists() or self._tool.has(SMI)

    def _gpus(self) -> list[Path]:
        return numbered(self._proc / "gpus", "*")

    def _shown(self, problem: str) -> list[Device]:
        """Those that the driver shows, though nobody can say more of them."""
        driver = _driver(text(self._proc / "version"))
        return [
            Device(
                "nvidia", index, _model(path), driver=driver, problem=problem,
                details={"pci": path.name},
            )
            for index, path in enumerate(self._gpus())
        ]  # fmt: skip


def _model(gpu: Path) -> str:
    lines = text(gpu / "information").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model")), "")


def _driver(version: str) -> str:
    words = version.partition("Module")[2].split()
    return next((word for word in words if word[0].isdigit()), "")
