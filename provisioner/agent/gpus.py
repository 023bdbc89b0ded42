"""How many NVIDIA GPUs there are and how many are idle, without ever hanging on a sick driver."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from provisioner.agent.log import Log

if TYPE_CHECKING:
    import subprocess

_PROC_GPUS = Path("/proc/driver/nvidia/gpus")
_DEADLINE = 5.0


class Gpus:
    """The NVIDIA GPUs of this machine. `nvidia-smi` is run only where there is a driver or tool."""

    def __init__(self, log: Log, directory: Path = _PROC_GPUS, tool: str = "nvidia-smi") -> None:
        self._log = log
        self._directory = directory
        self._tool = tool
        self._stuck: subprocess.Popen[bytes] | None = None
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
        """What nvidia-smi says, None without a good answer in time."""
        import shutil  # a machine without GPUs needs neither of these
        import subprocess

        path = shutil.which(self._tool)
        if path is None or not self._recovered():
            return None
        try:
            process = subprocess.Popen(
                [path, *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
        except OSError as problem:
            self._sick(f"cannot run {path}: {problem.strerror}")
            return None
        try:
            output, _ = process.communicate(timeout=_DEADLINE)
        except subprocess.TimeoutExpired:
            process.kill()
            # Stuck in the driver it may outlive the signal: it is looked after at the next try.
            self._stuck = process
            self._sick(f"{path} did not answer within {_DEADLINE:g} s")
            return None
        if process.returncode:
            self._sick(f"{path} failed with {process.returncode}")
            return None
        self._unhealthy = False
        return output.decode(errors="replace")

    def _recovered(self) -> bool:
        """Whether an earlier nvidia-smi that hung has ended, so that another may be started."""
        if self._stuck is not None and self._stuck.poll() is not None:
            if self._stuck.stdout:
                self._stuck.stdout.close()
            self._stuck = None
        return self._stuck is None

    def _sick(self, reason: str) -> None:
        if not self._unhealthy:
            self._log.warning(f"GPUs are unhealthy: {reason}")
        self._unhealthy = True
