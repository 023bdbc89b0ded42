"""Runs the keeper until a signal, and tells systemd how it fares."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

from provisioner.agent import VERSION
from provisioner.agent.bodies import Bodies
from provisioner.agent.clock import Clock
from provisioner.agent.gateway import Gateway
from provisioner.agent.keeper import Keeper, Standing
from provisioner.agent.listener import dial_to
from provisioner.agent.log import Log
from provisioner.agent.runtime import ASKS, Report, Runtime, own_directory
from provisioner.agent.settings import Settings
from provisioner.agent.states import Action, State
from provisioner.agent.systemd import notify, watchdog_seconds
from provisioner.agent.tunnel import Tunnel

_GRACE = 1.5  # for a request under way when the signal comes; SIGTERM ends the agent within 2 s
_IDLE = 30.0


class Service:
    """One agent process: settings made into a keeper, its reports, its end."""

    def __init__(
        self,
        settings: Settings,
        bodies: Bodies,
        runtime: Runtime,
        log: Log,
        tell: Callable[..., None] = lambda kind, **data: None,
    ) -> None:
        self._settings = settings
        self._tell = tell
        self._started = time.time()
        self._keepalives = self._failures = 0
        self._report: Report | None = None
        self._bodies = bodies
        self._runtime = runtime
        self._log = log
        self._clock = Clock()
        self._tunnel = Tunnel(
            settings.gateway,
            settings.k3s,
            settings.way_back,
            own_directory().with_name(ASKS),
            log,
            tell,
            self._clock,
        )
        dial = dial_to(settings.gateway, settings.tunnel_user) if settings.tunnel_user else None
        self._keeper = Keeper(
            Gateway(settings.gateway, settings.token, dial),
            {Action.REGISTER: bodies.registration, Action.KEEPALIVE: bodies.keepalive},
            self._clock,
            log,
            settings.interval,
            self._publish,
        )

    def once(self) -> bool:
        """Register and keep alive a single time; whether the machine is ready then."""
        self._keeper.step()
        if self._keeper.standing.state is State.REGISTERED:
            self._keeper.step()
        return self._keeper.standing.state is State.READY

    def run(self) -> int | None:
        """Keep the machine ready until SIGTERM or SIGINT; the exit code. On SIGHUP None: the
        settings are to be read anew."""
        reader, writer = socket.socketpair()
        for end in (reader, writer):
            end.setblocking(False)
        thread = threading.Thread(target=self._keep, args=(writer,), daemon=True)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            # The byte in the socket does the work; a handler is needed for one to be sent.
            signal.signal(number, lambda *_: None)
        thread.start()
        threading.Thread(target=self._tunnel.watch, daemon=True).start()
        # Ready means that the agent is at work: an outage of the gateway is no failed start.
        notify("READY=1")
        came = self._supervise(reader)
        failed = not thread.is_alive()
        self._clock.stop()
        if set(came) == {signal.SIGHUP} and not failed:
            thread.join(_GRACE)
            return None
        notify("STOPPING=1")
        thread.join(_GRACE)
        self._log.info("stopped")
        return 1 if failed else 0

    def _keep(self, writer: socket.socket) -> None:
        try:
            self._keeper.run()
        finally:
            with contextlib.suppress(OSError):  # nobody listens any more after a reload
                writer.send(b"\0")

    def _supervise(self, reader: socket.socket) -> bytes:
        """The signals that came, or a 0 when the keeper ends; until then signs of life."""
        period = watchdog_seconds()
        while not select.select([reader], [], [], period / 3 if period else _IDLE)[0]:
            if period and self._keeper.healthy:
                notify("WATCHDOG=1")
        return reader.recv(64)

    def status(self) -> dict[str, Any]:
        """How the agent fares, for who asks it."""
        report = self._report or self._reported(self._keeper.standing)
        return {
            **report._asdict(),
            "started": round(self._started, 3),
            "keepalives": self._keepalives,
            "failures": self._failures,
            "tunnel": self._tunnel.ways._asdict(),
            "gpus": int(self._bodies.machine.gpu_count),
            "metrics": self._bodies.last_metrics,
        }

    def _reported(self, standing: Standing) -> Report:
        return Report(
            state=standing.state.value,
            machine_id=self._settings.machine_id,
            pool=self._settings.pool,
            gateway=str(self._settings.gateway),
            hostname=self._bodies.machine.hostname,
            since=round(standing.since, 3),
            last_keepalive=_rounded(standing.last_keepalive),
            last_error=standing.last_error,
            version=VERSION,
            pid=os.getpid(),
            problems=[f"{what}: {problem}" for what, problem in self._log.troubles.items()],
        )

    def _publish(self, standing: Standing) -> None:
        before, self._report = self._report, self._reported(standing)
        if before and self._report.last_keepalive != before.last_keepalive:
            self._keepalives += 1
        elif standing.last_error:
            self._failures += 1
        if before is None or before.state != self._report.state:
            self._tell("state", state=self._report.state, error=self._report.last_error)
        self._runtime.publish(self._report)
        trouble = f"; {standing.last_error}" if standing.last_error else ""
        place = f"machine {self._settings.machine_id} at {self._settings.gateway}"
        notify(f"STATUS={standing.state.value}: {place}{trouble}")


def _rounded(moment: float | None) -> float | None:
    return None if moment is None else round(moment, 3)


def age(moment: float | None) -> str:
    """How long ago `moment` was, for people."""
    if moment is None:
        return "never"
    seconds = max(0, int(time.time() - moment))
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
