"""The terminal UI of one agent."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import DataTable, Footer

from provisioner.agent.tui import views
from provisioner.agent.tui.client import Client, Event, Trouble
from provisioner.agent.tui.panes import Machine, Pods
from provisioner.agent.tui.podlog import PodLog
from provisioner.agent.tui.sight import Sight, Watch, Way

TICK = 1.0  # seconds; ages are drawn anew


class MachineApp(App[None]):
    """What the screens of one agent and of many have in common. `watched` is the agent in view."""

    CSS_PATH = Path(__file__).with_name("style.tcss")
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "Quit"),
        Binding("ctrl+c", "quit", show=False, priority=True),
        Binding("s", "start", "Start inference"),
        Binding("x", "stop", "Stop inference"),
    ]

    watched: Watch | None = None

    def on_mount(self) -> None:
        """Leave the terminal as it was, whoever ends us."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, self.exit)
        self.set_interval(TICK, self.draw)
        self.begin()

    def begin(self) -> None:
        """Start to watch."""

    def draw(self) -> None:
        """Draw what is known now."""
        if self.watched:
            for machine in self.machines():
                machine.show(self.watched.name, self.watched.sight, time.time())

    def machines(self) -> Iterable[Machine]:
        """The one machine in view, whatever screen is over it; none when all is taken down."""
        return self.screen_stack[0].query(Machine) if self.screen_stack else ()

    def _fatal_error(self) -> None:
        """Unlike Textual's own, without the values of variables: a token may be among them."""
        self.panic(Text(traceback.format_exc()))

    @on(DataTable.RowSelected, "Pods")
    def open_log(self, event: DataTable.RowSelected) -> None:
        """Enter on a pod."""
        watch, name = self.watched, event.row_key.value
        if watch and name:
            self.push_screen(PodLog(name, lambda: watch.do(lambda client: client.pod_log(name))))

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """On a pod's log there is nothing to start."""
        return action not in ("start", "stop") or len(self.screen_stack) == 1

    def action_start(self) -> None:
        """Have the server of models started."""
        self._ask("started", Client.start_inference)

    def action_stop(self) -> None:
        """Have it stopped."""
        self._ask("stopped", Client.stop_inference)

    def _ask(self, told: str, what: Callable[[Client], Any]) -> None:
        """Ask for it in a thread that nobody has to wait for."""
        if self.watched:
            act = partial(self._asked, self.watched, told, what)
            threading.Thread(target=act, daemon=True).start()

    def _asked(self, watch: Watch, told: str, what: Callable[[Client], Any]) -> None:
        tell = partial(self.call_later, self.notify, markup=False)
        try:
            watch.do(what)
        except Trouble as problem:
            tell(views.clean(str(problem)), severity="error")
        else:
            tell(f"the server of models is to be {told}")


class AgentApp(MachineApp):
    """One agent. `open` makes the way to it."""

    TITLE = "b9agent"

    def __init__(self, open: Callable[[], Way]) -> None:
        super().__init__()
        self.watched = Watch("Beta9 agent", open, self._see, self._hear)

    def compose(self) -> ComposeResult:
        """The panes, and the keys."""
        yield Machine()
        yield Footer(show_command_palette=False)

    def begin(self) -> None:
        """Start to watch the one agent."""
        self.query_one(Pods).focus()
        if self.watched:
            self.watched.start()

    def on_unmount(self) -> None:
        """Look no more."""
        if self.watched:
            self.watched.close()

    def _see(self, sight: Sight) -> None:
        self.call_later(self.draw)

    def _hear(self, event: Event) -> None:
        self.call_later(self._add, event)

    def _add(self, event: Event) -> None:
        for machine in self.machines():
            machine.add(event)
