"""What is known of all workers, and waiting for news of them."""

from __future__ import annotations

import threading
import time
from functools import partial
from typing import Any

from provisioner.agent.http import Endpoint
from provisioner.agent.tui.client import Client
from provisioner.agent.tui.sight import Sight, Watch, Way
from provisioner.dashboard.reach import LOOPBACK, Reach, control_port, dial
from provisioner.inventory import Host
from provisioner.ssh.connect import hang_up
from provisioner.web import rows, units

PERIOD = 2.0  # seconds between two looks at a worker
HOSTS_A_SECOND = 20.0  # of more hosts each is looked at less often
LONGEST_PAUSE = 10.0  # seconds before one that is away is tried again
CALLS_AT_ONCE = 20

Json = dict[str, Any]


class Fleet:
    """Watches hosts over one SSH connection each. `rows` are told by version: each change of one
    gives it the next number."""

    def __init__(self, hosts: list[Host], host_keys: str) -> None:
        self._hosts = {host.name: host for host in hosts}
        self._units: dict[str, units.States] = {}
        self._news = threading.Condition()
        self._version = 0
        self._rows: dict[str, tuple[int, Json]] = {
            name: (0, rows.row(host, Sight(), {})) for name, host in self._hosts.items()
        }
        self._closed = False
        reach = Reach(host_keys, CALLS_AT_ONCE)
        period = max(PERIOD, len(hosts) / HOSTS_A_SECOND)
        self._watches = [
            Watch(
                host.name,
                partial(self._way, reach, host),
                partial(self._see, host.name),
                lambda event: None,
                detailed=False,
                calm=period,
                longest=max(period, LONGEST_PAUSE),
            )
            for host in hosts
        ]

    def start(self) -> None:
        """Begin to watch."""
        for watch in self._watches:
            watch.start()

    def close(self) -> None:
        """Watch no more, and let go of all who wait."""
        for watch in self._watches:
            watch.close()
        with self._news:
            self._closed = True
            self._news.notify_all()

    @property
    def closed(self) -> bool:
        """Whether there will be no more news."""
        return self._closed

    def rows(self) -> tuple[int, list[Json]]:
        """The version, and all rows in the inventory's order."""
        with self._news:
            return self._version, [row for _, row in self._rows.values()]

    def news(self, version: int, seconds: float) -> tuple[int, list[Json]]:
        """The rows that are newer than `version`, awaited for so long."""
        with self._news:
            self._news.wait_for(lambda: self._closed or self._version > version, seconds)
            return self._version, [row for each, row in self._rows.values() if each > version]

    def _way(self, reach: Reach, host: Host) -> Way:
        """The way to its agent. Raises Trouble."""
        port = control_port(host)
        connection = reach.connect(host)
        transport = connection.transport

        def look() -> None:
            self._units[host.name] = units.ask(transport)

        client = _Client(Endpoint(LOOPBACK, port), lambda wait: dial(connection, port, wait), look)
        return Way(client, lambda: hang_up(connection), transport.is_active)

    def _see(self, name: str, sight: Sight) -> None:
        known = self._units.get(name, {}) if sight.reached else {}
        row = rows.row(self._hosts[name], sight, known)
        with self._news:
            if row == self._rows[name][1]:
                return
            self._version += 1
            self._rows[name] = self._version, row
            self._news.notify_all()


class _Client(Client):
    """Has a look at the host's units before it asks the agent, which may be one that is away."""

    def __init__(self, endpoint: Endpoint, dial: Any, look: Any) -> None:
        super().__init__(endpoint, dial=dial)
        self._look = look

    def status(self) -> Json:
        self._look()
        return super().status()


def now() -> float:
    """Unix seconds, by which the ages of what is told count."""
    return round(time.time(), 3)
