"""NVIDIA's management library by nvidia-ml-py, asked in a process of its own.

A call into a sick driver may never return, which must happen to no process that matters; and what
nvidia-ml-py takes, a second copy of this agent's memory, goes with the process.
Source: https://docs.nvidia.com/deploy/nvml-api/
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.agent.devices.device import Device, Told
from provisioner.agent.devices.nvidia_memory import memory_problem
from provisioner.agent.devices.tool import Tool

_CHILD = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from provisioner.agent.devices.nvml import tell; tell()"
)
_PLACE = Path(__file__).absolute().parents[3]  # the zipapp, or the folder that has this package
_MIB = 1 << 20


def ask(tool: Tool) -> Told:
    """The GPUs as NVML has them; `missing` where there is no NVML to be asked."""
    said = tool.ask(sys.executable, "-I", "-c", _CHILD, str(_PLACE), called="NVML")
    if said.problem:
        return Told([], said.problem, missing=not said.hung)
    try:
        told: Any = json.loads(said.output)
        devices = [Device(**each) for each in told["devices"]]
    except (ValueError, KeyError, TypeError) as problem:
        return Told([], f"NVML's answer can't be read: {problem}", missing=True)
    return Told(devices, told["problem"], told["missing"])


def tell() -> None:
    """In the child: print what NVML says."""
    told = _told()._asdict()
    print(json.dumps({**told, "devices": [each._asdict() for each in told["devices"]]}))


def _told() -> Told:
    try:
        import pynvml
    except ImportError:
        return Told([], "there is no nvidia-ml-py", missing=True)
    try:
        pynvml.nvmlInit()
        asked = _Asked(pynvml)
        return Told([asked.device(number) for number in range(pynvml.nvmlDeviceGetCount())])
    except pynvml.NVMLError as problem:
        missing = problem.value == pynvml.NVML_ERROR_LIBRARY_NOT_FOUND
        return Told([], f"NVML: {problem}", missing)


class _Asked:
    """Asks GPU by GPU; what one does not support is left out."""

    def __init__(self, nvml: Any) -> None:
        self._nvml = nvml
        cuda = self._may(nvml.nvmlSystemGetCudaDriverVersion_v2)
        self._cuda = f"{cuda // 1000}.{cuda % 1000 // 10}" if cuda else ""
        self._driver = str(self._may(nvml.nvmlSystemGetDriverVersion) or "")

    def device(self, number: int) -> Device:
        """One GPU; one that is lost has nothing but the problem."""
        nvml = self._nvml
        try:
            return self._device(number, nvml.nvmlDeviceGetHandleByIndex(number))
        except nvml.NVMLError as problem:
            return Device("nvidia", number, "", driver=self._driver, problem=f"NVML: {problem}")

    def _device(self, number: int, gpu: Any) -> Device:
        nvml, may = self._nvml, self._may
        memory = may(nvml.nvmlDeviceGetMemoryInfo, gpu)
        power = may(nvml.nvmlDeviceGetPowerUsage, gpu)
        return Device(
            "nvidia",
            number,
            nvml.nvmlDeviceGetName(gpu),
            memory and memory.total // _MIB,
            memory and memory.free // _MIB,
            self._driver,
            self._temperature(gpu),
            None if power is None else round(power / 1000, 2),
            self._problem(gpu),
            self._details(gpu),
        )

    def _details(self, gpu: Any) -> dict[str, Any]:
        nvml, may = self._nvml, self._may
        pci = may(nvml.nvmlDeviceGetPciInfo, gpu)
        limit = may(nvml.nvmlDeviceGetEnforcedPowerLimit, gpu)
        details = {
            "uuid": may(nvml.nvmlDeviceGetUUID, gpu) or "",
            "pci": pci.busId if pci else "",
            "cuda": self._cuda,
            "mig": (may(nvml.nvmlDeviceGetMigMode, gpu) or [0])[0] == 1,
            "slices": self._slices(gpu),
            "ecc": (may(nvml.nvmlDeviceGetEccMode, gpu) or [0])[0] == 1,
            "uncorrected_errors": self._uncorrected(gpu),
            "persistence": may(nvml.nvmlDeviceGetPersistenceMode, gpu) == 1,
            "power_limit": None if limit is None else round(limit / 1000, 2),
        }
        processes = self._processes(gpu)
        return details if processes is None else {**details, "processes": processes}

    def _problem(self, gpu: Any) -> str:
        rows = self._may(self._nvml.nvmlDeviceGetRemappedRows, gpu) or (0, 0, 0, 0)
        pages = self._may(self._nvml.nvmlDeviceGetRetiredPagesPendingStatus, gpu)
        return memory_problem(bool(rows[3]), bool(rows[2] or pages), self._uncorrected(gpu))

    def _uncorrected(self, gpu: Any) -> int:
        nvml = self._nvml
        kind, since_boot = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        return self._may(nvml.nvmlDeviceGetTotalEccErrors, gpu, kind, since_boot) or 0

    def _temperature(self, gpu: Any) -> float | None:
        """By a call that CUDA 14 is to be without, else by its successor."""
        nvml = self._nvml
        for call in (nvml.nvmlDeviceGetTemperature, nvml.nvmlDeviceGetTemperatureV):
            degrees = self._may(call, gpu, nvml.NVML_TEMPERATURE_GPU)
            if degrees is not None:
                return float(degrees)
        return None

    def _slices(self, gpu: Any) -> list[dict[str, Any]]:
        nvml, may = self._nvml, self._may
        most = may(nvml.nvmlDeviceGetMaxMigDeviceCount, gpu) or 0
        handles = [may(nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, n) for n in range(most)]
        found = []
        for index, handle in enumerate(handles):
            if handle is not None:
                memory = may(nvml.nvmlDeviceGetMemoryInfo, handle)
                found.append({
                    "index": index,
                    "gpu_instance": may(nvml.nvmlDeviceGetGpuInstanceId, handle),
                    "compute_instance": may(nvml.nvmlDeviceGetComputeInstanceId, handle),
                    "memory": memory and memory.total // _MIB,
                })  # fmt: skip
        return found

    def _processes(self, gpu: Any) -> list[dict[str, Any]] | None:
        """Those that compute, None where that is not told, as to who has no right to ask."""
        nvml = self._nvml
        calls = ("nvmlDeviceGetComputeRunningProcesses_v3",
                 "nvmlDeviceGetComputeRunningProcesses_v2")  # fmt: skip
        told = (self._may(getattr(nvml, call), gpu) for call in calls)
        found = next((each for each in told if each is not None), None)
        if found is None:
            return None
        return [
            {"pid": each.pid, "memory": each.usedGpuMemory and each.usedGpuMemory // _MIB}
            for each in found
        ]

    def _may(self, call: Callable[..., Any], *arguments: Any) -> Any:
        """What a call says, None where that is nothing. Raises NVMLError for a GPU that is lost."""
        try:
            return call(*arguments)
        except self._nvml.NVMLError as problem:
            if problem.value == self._nvml.NVML_ERROR_GPU_IS_LOST:
                raise
            return None
