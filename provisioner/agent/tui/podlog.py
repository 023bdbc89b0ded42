"""The log of one pod, on a screen of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, RichLog

from provisioner.agent.tui import views
from provisioner.agent.tui.client import Trouble

PERIOD = 3.0  # seconds between two looks


class PodLog(Screen[None]):
    """Shows what `read` gives, and goes on reading it, in a thread that nobody has to wait for."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "app.pop_screen", "Back")]

    def __init__(self, name: str, read: Callable[[], str]) -> None:
        super().__init__()
        self._pod, self._read = name, read
        self._shown: str | None = None
        self._left = threading.Event()

    def compose(self) -> ComposeResult:
        """The log, and the keys."""
        pane = RichLog(wrap=True, markup=False, classes="pane")
        pane.border_title = views.unmarked(f"Log of {self._pod}")
        yield pane
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Begin to read."""
        threading.Thread(target=self._read_on, daemon=True).start()

    def on_unmount(self) -> None:
        """Read no more."""
        self._left.set()

    def _read_on(self) -> None:
        while not self._left.is_set():
            try:
                text, problem = views.clean(self._read()), ""
            except Trouble as trouble:
                text, problem = self._shown or "", views.clean(str(trouble))
            if not self._left.is_set():
                self.call_later(self._show, text, problem)
            self._left.wait(PERIOD)

    def _show(self, text: str, problem: str) -> None:
        pane = self.query_one(RichLog)
        nothing = "" if text else "nothing is written yet"
        pane.border_subtitle = views.unmarked(problem or nothing)
        if text != self._shown:
            self._shown = text
            pane.clear()
            pane.write(Text(text.rstrip("\n")))
