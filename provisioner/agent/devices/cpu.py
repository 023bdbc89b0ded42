"""The processor, for a machine that has nothing else."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from provisioner.agent.devices.device import Device
from provisioner.agent.machine import memory_kib


class Cpu:
    """All processors as one device."""

    name = "cpu"

    def __init__(self, root: Path) -> None:
        self._proc = root / "proc"

    def find(self) -> list[Device]:
        memory = memory_kib(self._proc)
        total, free = (memory.get(name) for name in ("MemTotal", "MemAvailable"))
        return [
            Device(
                "cpu",
                0,
                self._model() or platform.processor() or platform.machine(),
                None if total is None else total >> 10,
                None if free is None else free >> 10,
                details={"threads": os.cpu_count()},
            )
        ]

    def _model(self) -> str:
        try:
            with (self._proc / "cpuinfo").open(encoding="utf-8", errors="replace") as stream:
                names = (line.partition(":")[2] for line in stream if line.startswith("model name"))
                return next(names, "").strip()
        except OSError:
            return ""
