"""Who starts and stops the server of models: systemd where it has a unit, else the agent itself."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import Protocol

from provisioner.agent.inference.backend import Backend, BackendError

UNIT_DIRECTORIES = ("/etc/systemd/system", "/usr/local/lib/systemd/system",
                    "/usr/lib/systemd/system", "/lib/systemd/system")  # fmt: skip
STOP_SECONDS = 10.0
_SYSTEMCTL_SECONDS = 30.0


class Servant(Protocol):
    """Starts and stops the server."""

    def start(self) -> None:
        """Does nothing where it runs. Raises BackendError."""

    def stop(self) -> None:
        """Does nothing where it does not run. Raises BackendError."""

    def close(self) -> None:
        """The agent ends: so does what lives by it alone."""

    @property
    def failed(self) -> bool:
        """Whether the server's process ended without having been stopped."""
        ...


def servant_for(
    backend: Backend, asks: Path, directories: tuple[str, ...] = UNIT_DIRECTORIES
) -> Servant:
    """The one for this machine. `asks` is where an agent that is not root leaves requests."""
    if not any(Path(directory, backend.unit).exists() for directory in directories):
        return Child(backend)
    return Systemctl(backend.unit) if os.geteuid() == 0 else Asked(backend.unit, asks)


class Systemctl:
    """A unit, by `systemctl`."""

    def __init__(self, unit: str) -> None:
        self._unit = unit

    def start(self) -> None:
        """Start the unit."""
        self._call("start")

    def stop(self) -> None:
        """Stop the unit."""
        self._call("stop")

    def close(self) -> None:
        """The unit stays."""

    @property
    def failed(self) -> bool:
        """Whether systemd has it as failed."""
        return _has_failed(self._unit)

    def _call(self, verb: str) -> None:
        try:
            done = _systemctl(verb, self._unit)
        except (OSError, subprocess.TimeoutExpired) as problem:
            raise BackendError(f"systemctl {verb} {self._unit}: {problem}") from None
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise BackendError(f"systemctl {verb} {self._unit}: {last}")


class Asked(Systemctl):
    """A unit that root starts and stops where a file asks for it (b9agent-asks.path)."""

    def __init__(self, unit: str, asks: Path) -> None:
        super().__init__(unit)
        self._asks = asks

    def _call(self, verb: str) -> None:
        if not self._asks.is_dir():
            raise BackendError(
                f"only root may {verb} {self._unit}, and nobody is there to be asked: "
                f"run systemctl {verb} {self._unit} as root"
            )
        try:
            (self._asks / f"{verb}-{self._unit.partition('.')[0]}").touch()
        except OSError as problem:
            raise BackendError(f"root can't be asked: {problem.strerror}") from None


class Child:
    """A process of the agent's own, which ends with it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server."""
        if self._process is not None and self._process.poll() is None:
            return
        argv = self._backend.command()
        program = shutil.which(argv[0])
        if program is None:
            raise BackendError(f"{argv[0]} is not installed, and has no systemd unit")
        environment = {**os.environ, **self._backend.environment()}
        # of no interest to it, and a socket that it could confuse systemd by
        environment.pop("NOTIFY_SOCKET", None)
        try:
            self._process = subprocess.Popen(
                [program, *argv[1:]],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        except OSError as problem:
            raise BackendError(f"{program} can't be run: {problem.strerror}") from None

    def stop(self) -> None:
        """Have the server end, and whatever it has started."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, 9)
            process.wait()

    def close(self) -> None:
        """Have it end with the agent."""
        self.stop()

    @property
    def failed(self) -> bool:
        """Whether its process has ended by itself."""
        return self._process is not None and self._process.poll() is not None


def _has_failed(unit: str) -> bool:
    try:
        done = _systemctl("is-failed", "--quiet", unit)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _systemctl(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["systemctl", "--no-ask-password", *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_SYSTEMCTL_SECONDS,
    )
