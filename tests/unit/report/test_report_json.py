"""JSON lines: the documented shapes are the real ones."""

from __future__ import annotations

import io
import json
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

from report_events import PLAY, finished, rerun, run

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    HostUnreachable,
    HostWaiting,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)
from provisioner.report import make_report
from provisioner.report.json import JsonLines
from provisioner.report.tables import render_status

DOCUMENT = Path(__file__).parents[3] / "docs" / "json-output.md"
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678000, timezone.utc)

DOCUMENTED = [
    RunStarted("up.yaml", ("w1", "w2")),
    PlayStarted(PLAY, ("w1", "w2")),
    HostConnected("w1", 0.4123),
    HostWaiting("w1", "ci@runner-7, since 03:01:12"),
    TaskStarted("w1", "k3s : install k3s", "get_artifact", "roles/k3s/tasks/main.yaml:12"),
    TaskProgress("w1", "k3s : install k3s", 20971520, 72351744, "k3s"),
    TaskFinished(
        "w1",
        PLAY,
        "k3s : configure k3s",
        "template",
        "roles/k3s/tasks/main.yaml:20",
        "changed",
        0.025,
        {
            "changed": True,
            "diff": {
                "before": "",
                "after": "token: ********\n",
                "path": "/etc/rancher/k3s/config.yaml",
            },
        },
    ),
    HostUnreachable("w2", "nothing answers at 10.0.0.8:22", "is sshd running there?"),
    RunFinished(
        {
            "w1": HostSummary(12, 3, 1),
            "w2": HostSummary(
                unreachable=True,
                reason="nothing answers at 10.0.0.8:22",
                advice="is sshd running there?",
            ),
        },
        41.5,
    ),
]


def lines(events: list[Event]) -> list[dict]:
    stream = io.StringIO()
    report = JsonLines(stream, lambda _: "b9prov up inventory.yaml --limit @retry", lambda: MOMENT)
    for event in events:
        report(event)
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def documented() -> list[dict]:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    return [json.loads(block) for block in blocks]


def test_every_documented_example_is_what_is_written() -> None:
    examples = documented()
    assert lines(DOCUMENTED) == examples[:-1]


def test_every_event_type_is_documented() -> None:
    names = {re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower() for kind in _kinds()}
    examples = {example["event"] for example in documented() if "event" in example}
    assert examples == names | {"summary"}


def _kinds() -> list[type[Event]]:
    return [kind for kind in Event.__subclasses__() if kind.__module__.endswith("engine.events")]


def test_the_documented_status_is_what_is_written() -> None:
    example = documented()[-1]
    stream = io.StringIO()
    render_status(example["hosts"], "json", stream)
    assert json.loads(stream.getvalue()) == example


def test_the_last_line_is_exactly_the_summary() -> None:
    stream = io.StringIO()
    report = make_report("json", stream=stream, rerun=rerun)
    for event in run():
        report(event)
    report.close()
    assert stream.getvalue().splitlines()[-1] == (
        '{"schema":1,"event":"summary","hosts":{'
        '"w1":{"ok":2,"changed":2,"skipped":1,"failed":0,"unreachable":false},'
        '"w2":{"ok":4,"changed":0,"skipped":0,"failed":1,"unreachable":false},'
        '"w3":{"ok":0,"changed":0,"skipped":0,"failed":0,"unreachable":true}}}'
    )


def test_every_line_has_schema_event_and_a_time_in_utc() -> None:
    for line in lines(run())[:-1]:
        assert line["schema"] == 1
        assert datetime.fromisoformat(line["time"].replace("Z", "+00:00")) == MOMENT


def test_an_interrupt_is_told_before_the_summary() -> None:
    end = RunFinished({"w1": HostSummary()}, 1.0, True, ("w1",))
    told, last = lines([end])
    assert (told["interrupted"], told["unfinished"], told["retry"]) == (True, ["w1"], None)
    assert last["event"] == "summary"


def test_progress_comes_at_most_once_a_second_and_at_the_end() -> None:
    stream = io.StringIO()
    now = MOMENT
    report = JsonLines(stream, rerun, lambda: now)
    for step in range(31):
        now = MOMENT + timedelta(milliseconds=100 * step)
        report(TaskProgress("w1", "pull", step, 30, ""))
    told = [json.loads(line)["done"] for line in stream.getvalue().splitlines()]
    assert told == [0, 10, 20, 30]


def test_values_that_json_lacks_are_written_as_text() -> None:
    result = {"nan": float("nan"), "raw": b"\xff", "lone": "\ud800", "set": {1}, 3: "three"}
    (line,) = lines([finished("w1", "t", "ok", result)])
    assert line["result"] == {
        "nan": "nan",
        "raw": "\\xff",
        "lone": "\ud800",
        "set": [1],
        "3": "three",
    }
