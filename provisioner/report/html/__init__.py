"""A report of a run as one HTML file, which needs nothing else.

sink = HtmlReport(Path("report.html"), "b9prov up inventory.yaml", rerun, version)
HtmlReport(…).read(lines)  # of a run that is over
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

from provisioner.engine.events import Event, RunFinished
from provisioner.report.files import check_writable, write_whole
from provisioner.report.html.page import render
from provisioner.report.html.story import Story
from provisioner.report.html.view import view
from provisioner.report.reread import Line, reread
from provisioner.report.verdict import Rerun

_OWNER = 0o600  # it has what tasks printed


class HtmlReport:
    """Gathers the run and writes `path` when it is finished, whole or not at all.

    `by_tables`: whether all is well is for the tables of GPUs and network to say.
    """

    def __init__(
        self,
        path: Path,
        command: str,
        rerun: Rerun,
        version: str,
        *,
        by_tables: bool = False,
        now: Callable[[], float] = time.time,
    ) -> None:
        check_writable(path, "report")
        self._path, self._command, self._rerun, self._now = path, command, rerun, now
        self._version, self._by_tables = version, by_tables
        self._story = Story()

    def __call__(self, event: Event) -> None:
        self._story(event, self._now())
        if isinstance(event, RunFinished):
            self.write()

    def write(self) -> None:
        """Write what was gathered. Raises OSError."""
        shown = view(self._story, self._command, self._rerun, self._by_tables)
        page = render(shown, self._version)
        write_whole(self._path, page.encode("utf-8", "backslashreplace"), _OWNER)

    def read(self, lines: Iterable[Line]) -> None:
        """Write the report of a run from its JSON lines. Raises ValueError, OSError."""
        for event, at in reread(lines):
            self._story(event, at)
        self.write()
