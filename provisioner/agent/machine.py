"""What this machine is: the facts that a registration states about it."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path
from typing import NamedTuple

from provisioner.agent.settings import Settings

_PROC = Path("/proc")


class Machine(NamedTuple):
    """A machine in the gateway's terms and units."""

    hostname: str
    private_ip: str
    cpu: str
    memory: str
    gpu_count: str

    @property
    def millicores(self) -> int:
        """The CPU offered, in thousandths of a core."""
        return int(self.cpu.rstrip("m"))

    @property
    def mebibytes(self) -> int:
        """The memory offered, in MiB."""
        return int(self.memory[:-2]) * (1024 if self.memory.endswith("Gi") else 1)


def detect(settings: Settings, gpus: int, proc: Path = _PROC) -> Machine:
    """The machine as set, and as found where nothing is set."""
    private_ip = settings.private_ip or own_address()
    return Machine(
        hostname=settings.hostname or private_ip,
        private_ip=private_ip,
        cpu=settings.cpu or f"{(os.cpu_count() or 1) * 1000}m",
        memory=settings.memory or f"{memory_kib(proc).get('MemTotal', 0) // 1024}Mi",
        gpu_count=settings.gpu_count or str(gpus),
    )


def memory_kib(proc: Path = _PROC) -> dict[str, int]:
    """/proc/meminfo by name, in KiB; empty where it cannot be read."""
    try:
        text = (proc / "meminfo").read_text()
    except OSError:
        return {}
    return {name: int(size) for name, size in re.findall(r"^(\w+):\s+(\d+) kB$", text, re.M)}


def own_address() -> str:
    """The address of the interface that the default route uses; nothing is sent to find it."""
    for family, anywhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((anywhere, 9))
                return str(probe.getsockname()[0])
        except OSError:
            continue
    return "127.0.0.1"
