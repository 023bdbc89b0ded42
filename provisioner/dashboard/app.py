"""The dashboard: a table of workers, and all that is told of the chosen one."""

from __future__ import annotations

import time
from functools import partial
from typing import Any, ClassVar

from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer

from provisioner.agent.tui.app import MachineApp
from provisioner.agent.tui.client import Event
from provisioner.agent.tui.panes import Machine, Pods, Table
from provisioner.agent.tui.sight import Sight, Watch
from provisioner.dashboard import rows
from provisioner.dashboard.reach import Reach
from provisioner.inventory import Host


class Fleet(Table):
    """The workers."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Its pods")]

    def __init__(self, **more: Any) -> None:
        super().__init__(rows.COLUMNS, **more)


class Dashboard(MachineApp):
    """Watches hosts, each in threads of its own."""

    TITLE = "b9prov dashboard"

    def __init__(self, hosts: list[Host], reach: Reach) -> None:
        super().__init__()
        self._watches = {
            host.name: Watch(
                host.name,
                partial(reach.way, host),
                partial(self._see, host.name),
                partial(self._hear, host.name),
                detailed=False,
            )
            for host in hosts
        }

    def compose(self) -> ComposeResult:
        """The table over the panes, and the keys."""
        fleet = Fleet(classes="pane")
        count = len(self._watches)
        fleet.border_title = f"{count} worker{'s' if count > 1 else ''}"
        yield fleet
        yield Machine()
        yield Footer(show_command_palette=False)

    def begin(self) -> None:
        """Begin to watch all of them."""
        self.draw()
        self.query_one(Fleet).focus()
        for watch in self._watches.values():
            watch.start()

    def on_unmount(self) -> None:
        """Look no more."""
        for watch in self._watches.values():
            watch.close()

    def draw(self) -> None:
        """Draw what is known now, of all and of the chosen one."""
        now = time.time()
        seen = [(name, rows.row(name, w.sight, now)) for name, w in self._watches.items()]
        for fleet in self.screen_stack[0].query(Fleet) if self.screen_stack else ():
            fleet.fill(seen)
        super().draw()

    @on(DataTable.RowHighlighted, "Fleet")
    def choose(self, event: DataTable.RowHighlighted) -> None:
        """The cursor is on another worker."""
        watch = self._watches.get(event.row_key.value or "")
        if watch is None or watch is self.watched:
            return
        if self.watched:
            self.watched.detail(False)
        self.watched = watch
        watch.detail(True)
        for machine in self.machines():
            machine.clear()
            for each in list(watch.events):
                machine.add(each)
        self.draw()

    @on(DataTable.RowSelected, "Fleet")
    def go_to_pods(self) -> None:
        """Enter on a worker."""
        self.query_one(Pods).focus()

    def _see(self, name: str, sight: Sight) -> None:
        if self._watches.get(name) is self.watched:
            self.call_later(self.draw)

    def _hear(self, name: str, event: Event) -> None:
        self.call_later(self._add, name, event)

    def _add(self, name: str, event: Event) -> None:
        if self._watches[name] is self.watched:
            for machine in self.machines():
                machine.add(event)
