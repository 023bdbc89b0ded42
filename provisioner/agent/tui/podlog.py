"""The log of one pod, on a screen of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from rich.text import Text
from textual import work
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import Screen
from textual.widgets import Footer, RichLog
from textual.worker import get_current_worker

from provisioner.agent.tui import views
from provisioner.agent.tui.client import Trouble

PERIOD = 3.0  # seconds between two looks


class PodLog(Screen[None]):
    """Shows what `read` gives, and goes on reading it."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "app.pop_screen", "Back"),
        Binding("q", "app.quit", "Quit"),
    ]

    def __init__(self, name: str, read: Callable[[], str]) -> None:
        super().__init__()
        self._pod, self._read = name, read
        self._shown: str | None = None

    def compose(self) -> ComposeResult:
        """The log, and the keys."""
        pane = RichLog(wrap=True, markup=False, classes="pane")
        pane.border_title = f"Log of {self._pod}".replace("[", "\\[")
        yield pane
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        """Read at once, and then again and again."""
        self.refresh_log()
        self.set_interval(PERIOD, self.refresh_log)

    @work(thread=True, exclusive=True)
    def refresh_log(self) -> None:
        """Read the log anew."""
        worker = get_current_worker()
        try:
            text, problem = views.clean(self._read()), ""
        except Trouble as trouble:
            text, problem = self._shown or "", views.clean(str(trouble))
        if not worker.is_cancelled:
            self.app.call_from_thread(self._show, text, problem)

    def _show(self, text: str, problem: str) -> None:
        pane = self.query_one(RichLog)
        pane.border_subtitle = (problem or ("" if text else "nothing yet")).replace("[", "\\[")
        if text != self._shown:
            self._shown = text
            pane.clear()
            pane.write(Text(text.rstrip("\n")))
