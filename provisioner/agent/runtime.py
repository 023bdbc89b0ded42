"""The agent's files while it runs: the state for others to read, and the lock of the one agent."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Any, NamedTuple, TextIO

from provisioner.agent.configfile import atomic_write
from provisioner.agent.log import Log, mask

SYSTEM_DIRECTORY = Path("/run/b9agent")
ASKS = "b9agent-asks"  # the folder beside it where root is asked for what only root may do
_SIZE_LIMIT = 64 * 1024


class Report(NamedTuple):
    """How the agent fares. Holds no secrets: anyone on the machine may read it.

    `problems` are what is amiss here though the machine is kept alive.
    """

    state: str
    machine_id: str
    pool: str
    gateway: str
    hostname: str
    since: float
    last_keepalive: float | None
    last_error: str
    version: str
    pid: int
    problems: list[str]


class AlreadyRunning(Exception):
    """Another agent holds this machine's lock."""


def own_directory() -> Path:
    """Where this process keeps its runtime files."""
    given = os.environ.get("RUNTIME_DIRECTORY")
    if given:
        return Path(given.split(":")[0])
    return SYSTEM_DIRECTORY if os.geteuid() == 0 else Path("~/.b9agent").expanduser()


class Runtime:
    """The files of one running agent in `directory`."""

    def __init__(self, directory: Path, log: Log) -> None:
        self._directory = directory
        self._log = log
        self._lock: TextIO | None = None

    def acquire(self) -> None:
        """Become the machine's one agent until the process ends; raises AlreadyRunning."""
        other = read_state([SYSTEM_DIRECTORY]) if self._directory != SYSTEM_DIRECTORY else None
        if other and _is_agent(int(other["pid"])):  # one of another user's, with a lock of its own
            raise AlreadyRunning(f"another b9agent runs here already: process {other['pid']}")
        self._directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        lock = (self._directory / "lock").open("w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunning(f"another b9agent holds {self._directory / 'lock'}") from None
        self._lock = lock

    def publish(self, report: Report) -> None:
        """Write the state file; a full disk is said once and otherwise survived."""
        text = mask(json.dumps({"schema": 1, **report._asdict()}, sort_keys=True))
        try:
            atomic_write(self._directory / "state.json", text + "\n", 0o644)
        except OSError as problem:
            self._log.trouble("state file", f"cannot be written: {problem.strerror}")
        else:
            self._log.trouble("state file", "")


def read_state(directories: list[Path]) -> dict[str, Any] | None:
    """The newest readable state file in `directories`, with whether its agent still runs."""
    found: list[dict[str, Any]] = []
    for directory in directories:
        try:
            with (directory / "state.json").open(encoding="utf-8") as stream:
                state = json.loads(stream.read(_SIZE_LIMIT))
            running = _exists(int(state["pid"]))
            found.append({**state, "running": running, "since": float(state["since"])})
        except (OSError, ValueError, TypeError, KeyError):
            continue
    return max(found, key=lambda state: (state["running"], state["since"]), default=None)


def _is_agent(pid: int) -> bool:
    """Whether there is such a process, and as far as can be seen it is an agent."""
    try:
        return b"agent" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except FileNotFoundError:
        return False
    except OSError:
        return True


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True
