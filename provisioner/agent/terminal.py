"""`b9agent` on a terminal: attaches the terminal UI to the agent that runs here, or to one that it
starts, and ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.agent.config import sources
from provisioner.agent.flags import Flags
from provisioner.agent.http import Endpoint, HTTPProblem, exchange
from provisioner.agent.log import Log, one_line
from provisioner.agent.settings import SETTINGS, BadSettings, Source, find, from_environment
from provisioner.agent.unpack import Unusable, importable

START_SECONDS = 20.0
STOP_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_DEATH_SIGNAL = 1  # of prctl(2)


def on_terminal(flags: Flags) -> bool:
    """Whether the terminal UI is wanted, and can be drawn."""
    wanted = flags.switches.get("tui", True) and not flags.switches.get("no-tui")
    other = any(flags.switches.get(name) for name in ("once", "dry-run", "help", "h", "version"))
    there = all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout))
    return wanted and not other and there and os.environ.get("TERM", "dumb") != "dumb"


def show(arguments: list[str], flags: Flags) -> int | None:
    """Draw until the user quits; the exit code. None where the control API is off, and so there is
    nothing to draw."""
    endpoint, token = _door(flags)
    if not endpoint.port:
        print("b9agent: no terminal UI: the control API is off (control.port: 0)", file=sys.stderr)
        return None
    if flags.switches.get("no-color"):
        os.environ["NO_COLOR"] = "1"
    try:
        with importable():
            return _attached(endpoint, token, arguments)
    except Unusable as problem:
        print(f"b9agent: {problem}", file=sys.stderr)
        return 2


def _attached(endpoint: Endpoint, token: str, arguments: list[str]) -> int:
    if _answers(endpoint):
        return _draw(endpoint, token, lambda: "")
    agent = Child(arguments)
    try:
        agent.wait_for(endpoint)
        if agent.how_it_ended():
            return agent.give_up()
        return _draw(endpoint, token, agent.how_it_ended)
    finally:
        agent.end()


def _draw(endpoint: Endpoint, token: str, ended: Callable[[], str]) -> int:
    # found in the archive only once it is unpacked
    from provisioner.agent.tui.app import AgentApp
    from provisioner.agent.tui.client import Client, Trouble
    from provisioner.agent.tui.sight import Way

    def way() -> Way:
        if ended():
            raise Trouble(ended())
        return Way(Client(endpoint, token), alive=lambda: not ended())

    app = AgentApp(way)
    app.run()
    return app.return_code or 0


class Child:
    """An agent that was started for this terminal, and ends with it."""

    def __init__(self, arguments: list[str]) -> None:
        isolated = ["-I"] if sys.flags.isolated else []
        self._process = subprocess.Popen(
            [sys.executable, *isolated, sys.argv[0], "run", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            start_new_session=True,  # Ctrl-C and the end of the session are for us alone
            preexec_fn=_die_with_parent,
        )
        self._said: deque[str] = deque(maxlen=20)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, endpoint: Endpoint) -> None:
        """Until the control API answers, or the agent has ended. Raises Unusable."""
        give_up = time.monotonic() + START_SECONDS
        while not _answers(endpoint):
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_LOOK_SECONDS)
                return
            if time.monotonic() > give_up:
                raise Unusable(f"the agent was started, but nothing of it answers at {endpoint}")

    def how_it_ended(self) -> str:
        """What is to be said of its end; nothing while it runs."""
        code = self._process.poll()
        if code is None:
            return ""
        last = f": {one_line(self._said[-1])}" if self._said else ""
        return f"the agent has ended with exit code {code}{last}"

    def give_up(self) -> int:
        """Say what the agent said; its exit code."""
        self._reader.join(STOP_SECONDS)
        print("".join(self._said), end="", file=sys.stderr)
        return self._process.returncode or 1

    def end(self) -> None:
        """Have it end, as on SIGTERM."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _read(self) -> None:
        assert self._process.stderr
        for line in self._process.stderr:
            self._said.append(line)


def _die_with_parent() -> None:
    """In the child: end when this terminal's process is killed. Linux only; elsewhere it stays."""
    with contextlib.suppress(OSError, AttributeError, ImportError):
        import ctypes

        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGTERM)


def _answers(endpoint: Endpoint) -> bool:
    try:
        answer = exchange(endpoint, "GET", "/health", timeout=2.0, limit=1024)
    except HTTPProblem:
        return False
    return answer.status == 200 and b'"ok"' in answer.body


def _door(flags: Flags) -> tuple[Endpoint, str]:
    """Where the agent's control API listens, and what it wants to be shown; as far as this user
    may know."""
    places: list[Source]
    try:
        places = sources(flags, Log())
    except BadSettings:  # of another user's; an agent that is started says what is wrong
        places = [Source("flags", flags.values, Path.cwd()), from_environment(os.environ)]
    problems: list[str] = []
    found: dict[str, Any] = {
        setting.flag: find(setting, places, problems)[0]
        for setting in SETTINGS
        if setting.path.startswith("control.")
    }
    port = found["control-port"]
    return Endpoint(found["control-host"], int(port) if port.isdecimal() else 0), str(
        found["control-token"]
    )
