"""JUnit XML for CI systems: a suite a host, a case a task or a check."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from provisioner.engine.events import Event, HostUnreachable, RunFinished, RunStarted, TaskFinished
from provisioner.report.files import check_writable, write_whole
from provisioner.report.text import clean, failure, one_line, reason, title

_PROBLEMS = ("failure", "error", "skipped")


@dataclass
class _Case:
    """A task's outcome; only what the file needs, as a run may have very many."""

    name: str
    play: str
    where: str
    seconds: float
    problem: str = ""  # failure, error, skipped
    why: str = ""
    details: str = ""


@dataclass
class _Suite:
    host: str
    cases: list[_Case] = field(default_factory=list)

    def count(self, problem: str) -> int:
        return sum(case.problem == problem for case in self.cases)


class Junit:
    """Gathers the run and writes `path` when it is finished, whole or not at all."""

    def __init__(self, path: Path | str) -> None:
        self._path = Path(path)
        check_writable(self._path, "JUnit")
        self._started = datetime.now(timezone.utc)
        self._suites: dict[str, _Suite] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            for host in event.hosts:
                self._suite(host)
        elif isinstance(event, TaskFinished):
            self._suite(event.host).cases.append(_case(event))
        elif isinstance(event, HostUnreachable):
            case = _error("reach the host", event.reason, event.advice)
            self._suite(event.host).cases.append(case)
        elif isinstance(event, RunFinished):
            self._finish(event)

    def check(self, host: str, row: Mapping[str, Any]) -> None:
        """Add a row of a table of checks: `name, ok, severity, found, wanted, fix`."""
        self._suite(host).cases.append(_checked(row))

    def close(self) -> None:
        """The file was written when the run finished."""

    def _suite(self, host: str) -> _Suite:
        return self._suites.setdefault(host, _Suite(host))

    def _finish(self, event: RunFinished) -> None:
        for name, end in event.hosts.items():
            suite = self._suite(name)
            if not end.well and not suite.count("failure") and not suite.count("error"):
                suite.cases.append(_error("be as described", end.reason, end.advice))
        for name in event.unfinished:
            self._suite(name).cases.append(_error("be finished", "interrupted", ""))
        self.write(event.seconds)

    def write(self, seconds: float) -> None:
        """Write what was gathered in so many seconds."""
        root = ElementTree.Element("testsuites", name="b9prov", time=f"{seconds:.3f}")
        _count(root, list(self._suites.values()))
        for suite in self._suites.values():
            root.append(self._element(suite))
        ElementTree.indent(root)
        write_whole(self._path, ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n")

    def _element(self, suite: _Suite) -> ElementTree.Element:
        seconds = sum(case.seconds for case in suite.cases)
        element = ElementTree.Element(
            "testsuite",
            name=suite.host,
            hostname=suite.host,
            timestamp=self._started.isoformat(timespec="seconds"),
            time=f"{seconds:.3f}",
        )
        _count(element, [suite])
        element.extend(_cases(suite))
        return element


def _count(element: ElementTree.Element, suites: list[_Suite]) -> None:
    element.set("tests", str(sum(len(suite.cases) for suite in suites)))
    for problem, plural in zip(_PROBLEMS, ("failures", "errors", "skipped"), strict=True):
        element.set(plural, str(sum(suite.count(problem) for suite in suites)))


def _cases(suite: _Suite) -> Iterator[ElementTree.Element]:
    for case in suite.cases:
        element = ElementTree.Element("testcase", name=case.name, time=f"{case.seconds:.3f}")
        element.set("classname", f"{suite.host}.{case.play}" if case.play else suite.host)
        file, _, line = case.where.rpartition(":")
        if file and line.isdigit():
            element.set("file", file)
            element.set("line", line)
        if case.problem:
            problem = ElementTree.SubElement(element, case.problem)
            if case.why:
                problem.set("message", case.why)
            problem.text = case.details or None
        elif case.details:
            ElementTree.SubElement(element, "system-out").text = case.details
        yield element


def _case(event: TaskFinished) -> _Case:
    case = _Case(title(event), one_line(event.play), one_line(event.where), event.seconds)
    if event.status == "skipped":
        case.problem = "skipped"
        case.why = one_line(event.result.get("msg") or event.result.get("skip_reason") or "")
    elif event.status in ("failed", "ignored", "rescued"):
        case.details = _details(event)
        if event.status == "failed":
            case.problem, case.why = "failure", reason(event)
    return case


def _checked(row: Mapping[str, Any]) -> _Case:
    case = _Case(one_line(row["name"]), "", "", 0.0)
    difference = f"found {one_line(row['found'])}, wanted {one_line(row['wanted'])}"
    if row["severity"] == "skip":
        case.problem, case.why = "skipped", one_line(row["found"])
    elif row["ok"]:
        case.details = f"found {one_line(row['found'])}"
    elif row["severity"] == "error":
        case.problem, case.why, case.details = "failure", difference, clean(row["fix"])
    else:
        case.details = f"warning: {difference}\n{clean(row['fix'])}"
    return case


def _details(event: TaskFinished) -> str:
    parts = (f"{part.label}:\n" + "\n".join(part.lines) for part in failure(event, verbose=1))
    return "\n".join(parts)


def _error(name: str, why: str, advice: str) -> _Case:
    return _Case(name, "", "", 0.0, "error", one_line(why), clean(advice))
