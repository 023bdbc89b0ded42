"""The JUnit file: parseable, counted right, whole or absent."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import pytest
from report_events import finished, run

from provisioner.engine.events import HostSummary, RunFinished, RunStarted
from provisioner.errors import BadInput
from provisioner.report import fan_out
from provisioner.report.junit import Junit


def written(path: Path, events: list) -> ElementTree.Element:
    junit = Junit(path)
    for event in events:
        junit(event)
    return ElementTree.parse(path).getroot()


def test_counts_match_the_cases(tmp_path: Path) -> None:
    root = written(tmp_path / "junit.xml", run())
    assert {key: root.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "7",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
    }
    assert [suite.get("name") for suite in root] == ["w1", "w2", "w3"]
    for suite in root:
        cases = suite.findall("testcase")
        assert suite.get("tests") == str(len(cases))
        for problem, count in (("failure", "failures"), ("error", "errors")):
            assert suite.get(count) == str(len(suite.findall(f"testcase/{problem}")))


def test_a_failure_carries_message_and_details(tmp_path: Path) -> None:
    root = written(tmp_path / "junit.xml", run())
    case = root.find("testsuite[@name='w2']/testcase")
    assert case is not None
    assert (case.get("name"), case.get("file"), case.get("line"), case.get("time")) == (
        "k3s : install k3s",
        "roles/k3s/tasks/main.yaml",
        "12",
        "12.300",
    )
    failure = case.find("failure")
    assert failure is not None and failure.text is not None
    assert failure.get("message") == "non-zero return code"
    assert "line 24" in failure.text and "free 3 GiB on /usr" in failure.text
    error = root.find("testsuite[@name='w3']/testcase/error")
    assert error is not None and error.get("message") == "connection refused"


def test_characters_that_xml_forbids_do_not_break_it(tmp_path: Path) -> None:
    evil = "\x00\x0b\x1b[31m<&]]>\ud800\ufffe"
    events = [
        finished("w1", evil, "failed", {"msg": evil, "stderr": evil}),
        RunFinished({"w1": HostSummary(failed=1)}, 1.0),
    ]
    root = written(tmp_path / "junit.xml", events)
    assert root.get("failures") == "1"


def test_an_unfinished_host_is_an_error(tmp_path: Path) -> None:
    events = [
        RunStarted("up.yaml", ("w1", "w2")),
        RunFinished({"w1": HostSummary(), "w2": HostSummary()}, 1.0, True, ("w2",)),
    ]
    root = written(tmp_path / "junit.xml", events)
    error = root.find("testsuite[@name='w2']/testcase/error")
    assert error is not None and error.get("message") == "interrupted"
    assert root.get("errors") == "1"


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    path = tmp_path / "junit.xml"
    junit = Junit(path)
    path.mkdir()
    (path / "in the way").touch()
    with pytest.raises(OSError):
        junit(RunFinished({}, 1.0))
    assert [entry.name for entry in tmp_path.iterdir()] == ["junit.xml"]


def test_a_folder_that_is_not_there_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot write the JUnit file"):
        Junit(tmp_path / "absent" / "junit.xml")
    with pytest.raises(BadInput, match="is a folder"):
        Junit(tmp_path)


def test_a_sink_that_fails_does_not_stop_the_others() -> None:
    seen: list[object] = []

    def broken(_: object) -> None:
        raise OSError("disk full")

    sink = fan_out(broken, seen.append)
    with pytest.raises(OSError, match="disk full"):
        sink(RunFinished({}, 1.0))
    assert len(seen) == 1
