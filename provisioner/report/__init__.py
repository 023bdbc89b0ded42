"""Reports of a run: for a terminal, a log, a program, a CI system. All read the one event stream.

report = make_report(auto_kind(sys.stdout), stream=sys.stdout, rerun=command)
sink = fan_out(report, Junit("junit.xml"))

What only some commands need is imported by these alone: a run that does nothing takes a second, of
which Rich and XML would be a tenth.
"""

from __future__ import annotations

import os
from typing import Protocol, TextIO

from provisioner.engine.events import Event, Sink
from provisioner.report.files import failed_hosts, write_retry_file
from provisioner.report.verdict import Rerun

KINDS = ("rich", "plain", "json")

__all__ = [
    "KINDS",
    "Report",
    "Rerun",
    "auto_kind",
    "failed_hosts",
    "fan_out",
    "make_report",
    "write_retry_file",
]


class Report(Protocol):
    """A sink to close when the run is over, however it ended."""

    def __call__(self, event: Event) -> None: ...

    def close(self) -> None: ...


def make_report(
    kind: str, *, stream: TextIO, rerun: Rerun, diff: bool = False, verbose: int = 0
) -> Report:
    """A report of `kind` on `stream`. `rerun(hosts)` gives the command that retries these."""
    if kind == "json":
        from provisioner.report.json import JsonLines

        return JsonLines(stream, rerun)
    if kind == "plain":
        from provisioner.report.plain import Plain

        return Plain(stream, rerun, diff, verbose)
    if kind == "rich":
        from provisioner.report.rich import Rich

        return Rich(stream, rerun, diff, verbose)
    raise ValueError(f"no report is called {kind!r}; there are {', '.join(KINDS)}")


def auto_kind(stream: TextIO) -> str:
    """`rich` on a terminal that can show it and where nobody asked for less, else `plain`."""
    environment = os.environ
    asked_for_less = (
        environment.get("CI", "").lower() not in ("", "0", "false")
        or bool(environment.get("NO_COLOR"))
        or environment.get("TERM", "") in ("", "dumb", "unknown")
    )
    narrow = "utf" not in (getattr(stream, "encoding", None) or "utf-8").lower()
    return "rich" if stream.isatty() and not asked_for_less and not narrow else "plain"


def fan_out(*sinks: Sink) -> Sink:
    """One sink that passes every event to all; if some fail, the others still get it."""

    def pass_on(event: Event) -> None:
        failures: list[Exception] = []
        for sink in sinks:
            try:
                sink(event)
            except Exception as error:
                failures.append(error)
        if failures:
            raise failures[0]

    return pass_on
