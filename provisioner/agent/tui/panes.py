"""The widgets: each shows one part of what an agent tells, and knows nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from rich.cells import cell_len
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.widgets import DataTable, RichLog, Static

from provisioner.agent.tui import views
from provisioner.agent.tui.client import Event
from provisioner.agent.tui.sight import Sight
from provisioner.agent.tui.views import Cell, Fact

LOG_LINES = 1000


def text(cell: Cell) -> Text:
    """A cell as it is drawn; what it says is never read as markup."""
    return Text(cell.text, style=cell.style)


def lines(rows: Iterable[Iterable[Fact]]) -> Text:
    """Lines of names and values."""
    shown = Text()
    for number, row in enumerate(rows):
        shown.append("\n" if number else "")
        for place, (name, value) in enumerate(row):
            shown.append(" │ " if place else "", style="dim")
            shown.append(f"{name}: ", style="dim")
            shown.append_text(text(value))
    return shown


class Head(Static):
    """How the machine stands at the gateway."""

    def show(self, name: str, sight: Sight, now: float) -> None:
        """Draw what was seen; over it, why no more is."""
        self.border_title = views.unmarked(views.title(name, sight.status))
        shown = lines(views.facts(sight.status, now)) if sight.status else Text()
        for problem in views.problems(sight.status):
            shown.append(f"\n{problem}", style=views.BUSY)
        if sight.trouble:
            shown.append("\n" if shown else "")
            shown.append(views.clean(sight.trouble), style=views.BAD)
        self.update(shown)


class Table(DataTable[Text]):
    """Rows by key; a change of them leaves the cursor where it is."""

    def __init__(self, columns: Iterable[str], **more: Any) -> None:
        super().__init__(cursor_type="row", zebra_stripes=False, **more)
        self._names = list(columns)
        self._widths: list[int] = []

    def on_mount(self) -> None:
        """Make the columns."""
        self._refill([], self._fitting([]))

    def fill(self, rows: list[tuple[str, views.Row]]) -> None:
        """Show these rows and no others."""
        if not self.columns:  # not mounted yet
            return
        widths = self._fitting(rows)
        if widths != self._widths or [key.value for key in self.rows] != [key for key, _ in rows]:
            self._refill(rows, widths)
            return
        for key, cells in rows:
            for name, cell in zip(self._names, cells):  # noqa: B905 (Python 3.9)
                shown = text(cell)
                if self.get_cell(key, name) != shown:
                    self.update_cell(key, name, shown)

    @property
    def chosen(self) -> str | None:
        """The key of the row that the cursor is on."""
        if not self.is_valid_row_index(self.cursor_row):
            return None
        return self.coordinate_to_cell_key(self.cursor_coordinate).row_key.value

    def _fitting(self, rows: list[tuple[str, views.Row]]) -> list[int]:
        """The widths of the columns. A DataTable's own are at times those of its headings."""
        return [
            max([cell_len(name), *(cell_len(cells[place].text) for _, cells in rows)])
            for place, name in enumerate(self._names)
        ]

    def _refill(self, rows: list[tuple[str, views.Row]], widths: list[int]) -> None:
        before = self.chosen
        self.clear(columns=True)
        self._widths = widths
        for name, width in zip(self._names, widths):  # noqa: B905 (Python 3.9)
            self.add_column(name, key=name, width=width)
        for key, cells in rows:
            self.add_row(*map(text, cells), key=key)
        keys = [key for key, _ in rows]
        if before in keys:
            self.move_cursor(row=keys.index(before))


class Pods(Table):
    """The pods of the gateway's Jobs."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "select_cursor", "Pod's log")]

    def __init__(self, **more: Any) -> None:
        super().__init__(("pod", "status", "ready", "age"), **more)
        self.border_title = "Worker pods"

    def show(self, sight: Sight) -> None:
        """Draw them, or why there are none to see."""
        self.fill(views.pod_rows(sight.pods))
        none = "" if sight.pods else "no jobs yet"
        self.border_subtitle = views.unmarked(sight.pods_trouble or none)


class Inference(Static):
    """The server of models."""

    def show(self, sight: Sight) -> None:
        """Draw how it fares."""
        self.update(lines(views.inference_lines(sight.inference)) if sight.inference else "")


class Log(RichLog):
    """What happens in the agent, as it does."""

    def __init__(self, **more: Any) -> None:
        super().__init__(max_lines=LOG_LINES, wrap=True, markup=False, **more)
        self.border_title = "Log"

    def add(self, event: Event) -> None:
        """One line more."""
        self.write(text(views.event_line(event.kind, event.data)))


class Machine(Vertical):
    """All that is told of one machine: head, pods, inference, log."""

    def compose(self) -> ComposeResult:
        """The panes."""
        yield Head(classes="pane")
        yield Pods(classes="pane")
        inference = Inference(classes="pane")
        inference.border_title = "Inference"
        yield inference
        yield Log(classes="pane")

    def show(self, name: str, sight: Sight, now: float) -> None:
        """Draw what was seen last, on those panes that are there: first and last they are not."""
        for head in self.query(Head):
            head.show(name, sight, now)
        for pane in (*self.query(Pods), *self.query(Inference)):
            pane.show(sight)

    def add(self, event: Event) -> None:
        """Something happened there."""
        for log in self.query(Log):
            log.add(event)

    def clear(self) -> None:
        """Another machine's turn."""
        for log in self.query(Log):
            log.clear()
