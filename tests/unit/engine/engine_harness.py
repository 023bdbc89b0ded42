"""What engine tests share: an inventory in memory, runners as local processes, a record of events.

Every host of a run is a process of the real runner on this machine; only SSH is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from provisioner.engine.events import Event, HostSummary, RunFinished, TaskFinished
from provisioner.engine.run import Options, Run
from provisioner.inventory import Gateway, Host, Inventory
from provisioner.playbook.loader import Loader
from provisioner.playbook.model import Playbook
from provisioner.secrets import Secret
from provisioner.ssh.bootstrap import command
from provisioner.ssh.connect import Target, Unreachable
from provisioner.ssh.conversation import Conversation
from provisioner.ssh.pipes import Pipe, ProcessPipe
from provisioner.ssh.pool import Pool


@dataclass
class Record:
    """What a run told."""

    events: list[Event]
    finished: RunFinished

    @property
    def tasks(self) -> list[TaskFinished]:
        return [event for event in self.events if isinstance(event, TaskFinished)]

    def statuses(self, host: str = "w1") -> list[tuple[str, str]]:
        """(task, status) of a host, in order; items of loops one by one."""
        return [(event.task, event.status) for event in self.tasks if event.host == host]

    def result(self, task: str, host: str = "w1", item: str | None = None) -> dict[str, Any]:
        """The result of one task or item."""
        [found] = [
            event
            for event in self.tasks
            if (event.host, event.task) == (host, task) and item in (None, event.item)
        ]
        return found.result

    def message(self, task: str, host: str = "w1") -> Any:
        """What a `debug` said."""
        return self.result(task, host)["msg"]

    def summary(self, host: str = "w1") -> HostSummary:
        return self.finished.hosts[host]


@dataclass
class Workbench:
    """Writes files, and runs playbooks with them. `opened` lists conversations as (host, user)."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch
    opened: list[tuple[str, str | None]] = field(default_factory=list)
    refuse: dict[str, Unreachable] = field(default_factory=dict)
    wrap_pipe: Callable[[str, Pipe], Pipe] = lambda host, pipe: pipe
    wrap: Callable[[str, Conversation], Any] = lambda host, conversation: conversation

    def write(self, name: str, text: str | bytes) -> Path:
        """A file beside the playbook."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else dedent(text).encode())
        return path

    def load(self, text: str) -> Playbook:
        """A playbook of these plays."""
        return Loader([]).playbook(self.write("play.yaml", text))

    def tasks(self, text: str) -> str:
        """A play of these tasks for all workers."""
        lines = dedent(text).strip().splitlines()
        return "- hosts: workers\n  tasks:\n" + "\n".join("    " + line for line in lines) + "\n"

    def run(
        self,
        text: str,
        hosts: Sequence[str] = ("w1",),
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        gateway: bool = False,
        check_first: bool = True,
        sink: Callable[[Event], None] = lambda event: None,
        **options: Any,
    ) -> Record:
        """Run a playbook, or the tasks of one play, on hosts with these variables."""
        run, events = self.prepare(text, hosts, variables, host_variables, gateway, sink, **options)
        if check_first:
            run.check()
        return Record(events, run.execute())

    def prepare(
        self,
        text: str,
        hosts: Sequence[str] = ("w1",),
        variables: Mapping[str, Any] | None = None,
        host_variables: Mapping[str, Mapping[str, Any]] | None = None,
        gateway: bool = False,
        sink: Callable[[Event], None] = lambda event: None,
        **options: Any,
    ) -> tuple[Run, list[Event]]:
        """A run that has not begun, and the list that its events will be in."""
        plays = text if "hosts:" in text or "import_playbook" in text else self.tasks(text)
        events: list[Event] = []

        def note(event: Event) -> None:
            events.append(event)
            sink(event)

        own = host_variables or {}
        stock = inventory(
            {name: {**(variables or {}), **own.get(name, {})} for name in hosts}, gateway
        )
        self.monkeypatch.setattr(Pool, "_open", self._opener())
        self.monkeypatch.setattr(Pool, "call", lambda pool, target, become_user: None)
        return Run(self.load(plays), stock, Options(**options), note), events

    def _opener(self) -> Callable[[Pool, Target, str | None], Conversation]:
        def open_locally(pool: Pool, target: Target, become_user: str | None) -> Conversation:
            self.opened.append((target.name, become_user))
            if target.name in self.refuse:
                raise self.refuse[target.name]
            pipe = self.wrap_pipe(target.name, local_runner())
            conversation = Conversation(pipe, pool._lock_wait)
            conversation.begin(None)
            conversation.greet(exclusive=False)
            wrapped: Conversation = self.wrap(target.name, conversation)
            pool._conversations[target.name, become_user] = wrapped
            return wrapped

        return open_locally


def local_runner() -> ProcessPipe:
    """A runner on this machine, started as on a host."""
    return ProcessPipe(["/bin/sh", "-c", command(None, False)])


def inventory(hosts: Mapping[str, Mapping[str, Any]], gateway: bool = False) -> Inventory:
    """An inventory of these hosts with these variables; all are in group `all_of_them`."""
    gateway_host = Host("gateway", "192.0.2.1") if gateway else None
    return Inventory(
        gateway=Gateway(
            host=gateway_host,
            api="localhost:31994",
            url=None,
            admin_token=Secret("the-admin-token-of-the-gateway"),
            manage=True,
            addresses="10.199.0.0/24",
            forwards=[],
            tunnel_address=None,
            tunnel_port=None,
        ),
        hosts={
            name: Host(name, f"192.0.2.{10 + index}", variables=dict(variables))
            for index, (name, variables) in enumerate(hosts.items())
        },
        groups={"all_of_them": tuple(hosts)},
        source="memory",
    )
