"""What a keepalive tells of the machine, in the gateway's fields and units."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.agent.devices.nvidia import Nvidia
from provisioner.agent.inference.backend import Backend, BackendError
from provisioner.agent.log import Log
from provisioner.agent.machine import Machine, memory_kib
from provisioner.agent.pods import Pod, counts

_MODELS_LIMIT = 900  # bytes: with them a keepalive is no more than 2 KiB on the wire
_IMAGES = "images"  # where the gateway's workers keep the images that they were given


class Metrics:
    """Samples the machine; CPU use is that since the sample before."""

    def __init__(
        self,
        gpus: Nvidia,
        log: Log,
        proc: Path = Path("/proc"),
        disk: Path = Path("/"),
        list_pods: Callable[[], list[Pod]] = list,
    ) -> None:
        self._gpus, self._log = gpus, log
        self._list_pods = list_pods
        self._proc = proc
        self._disk = disk
        self._last = self._cpu_times()

    def sample(self, machine: Machine) -> dict[str, Any]:
        """The `metrics` of a keepalive. The gateway refuses a fraction where it wants a whole."""
        size, free = self._disk_bytes()
        workers, containers = counts(self._list_pods())
        return {
            "cpu_utilization_pct": self._cpu_percent(),
            "memory_utilization_pct": self._memory_percent(),
            "total_cpu_available": machine.millicores,
            "total_memory_available": machine.mebibytes,
            "total_disk_space_bytes": size,
            "total_disk_free_bytes": free,
            "free_gpu_count": self._gpus.free(int(machine.gpu_count)),
            "worker_count": workers,
            "container_count": containers,
            "cache_usage_pct": self._cache_percent(),
        }

    def _cpu_times(self) -> tuple[int, int]:
        """Busy and total clock ticks since boot."""
        try:
            with (self._proc / "stat").open() as stream:
                fields = [int(field) for field in stream.readline().split()[1:9]]
        except (OSError, ValueError):
            fields = []
        self._log.trouble("CPU", "" if fields else "its use can't be read")
        idle = sum(fields[3:5])  # idle and waiting for input or output
        return sum(fields) - idle, sum(fields)

    def _cpu_percent(self) -> float:
        busy, total = self._cpu_times()
        last_busy, last_total = self._last
        self._last = busy, total
        return _percent(busy - last_busy, total - last_total)

    def _memory_percent(self) -> float:
        memory = memory_kib(self._proc)
        self._log.trouble("memory", "" if memory else "its use can't be read")
        total = memory.get("MemTotal", 0)
        return _percent(total - memory.get("MemAvailable", total), total)

    def _disk_bytes(self) -> tuple[int, int]:
        try:
            disk = os.statvfs(self._disk)
        except OSError as problem:
            self._log.trouble("disk", f"its size can't be read: {problem.strerror}")
            return 0, 0
        full = disk.f_bavail < disk.f_blocks // 100
        self._log.trouble("disk", "less than 1 % of it is free" if full else "")
        return disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize

    def _cache_percent(self) -> float:
        """Of the disk that holds the cache of images, how much is in use."""
        try:
            disk = os.statvfs(self._disk / _IMAGES)
        except OSError:
            return 0.0  # nothing was ever run here
        return _percent(disk.f_blocks - disk.f_bavail, disk.f_blocks)


def _percent(part: int, whole: int) -> float:
    return round(min(100.0, max(0.0, 100.0 * part / whole)), 1) if whole > 0 else 0.0


def inference(backend: Backend) -> dict[str, Any] | None:
    """The `inference` block of a keepalive, None where no server of models answers."""
    try:
        names = backend.names()
    except BackendError:
        return None
    return {
        "status": "running",
        "ip": backend.endpoint.host,
        "port": backend.endpoint.port,
        "models": _fitting(names),
    }


def _fitting(names: list[str]) -> list[str]:
    room = _MODELS_LIMIT
    kept: list[str] = []
    for name in sorted(names):
        room -= len(json.dumps(name)) + 1
        if room < 0:
            break
        kept.append(name)
    return kept
