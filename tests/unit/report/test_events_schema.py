"""The schema of JSON output is that of the events, of the documented examples and of real runs."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import jsonschema
import pytest
from report_events import rerun, run

from provisioner.engine import events
from provisioner.report import make_report
from provisioner.report.json import SCHEMA

REPOSITORY = Path(__file__).parents[3]
SHIPPED = json.loads((REPOSITORY / "provisioner/report/events.schema.json").read_text())
DOCUMENT = REPOSITORY / "docs" / "json-output.md"
VALIDATOR = jsonschema.Draft7Validator(SHIPPED, format_checker=jsonschema.FormatChecker())


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SHIPPED)


@pytest.mark.parametrize("kind", events.Event.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_event_has_its_fields(kind: type[events.Event]) -> None:
    name = re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
    described = SHIPPED["definitions"][name]["properties"]
    assert described.keys() >= kind.__dataclass_fields__.keys() | {"schema", "event", "time"}
    assert described["schema"] == {"const": SCHEMA} and described["event"] == {"const": name}


def test_documented_examples_fit() -> None:
    blocks = re.findall(r"```json\n(.*?)```", DOCUMENT.read_text(), flags=re.DOTALL)
    lines = [line for line in map(json.loads, blocks) if "event" in line]
    for line in lines:
        VALIDATOR.validate(line)
    told = {each["then"]["$ref"].rpartition("/")[2] for each in SHIPPED["allOf"]}
    assert {line["event"] for line in lines} == told


def test_a_whole_run_fits() -> None:
    stream = io.StringIO()
    report = make_report("json", stream=stream, rerun=rerun)
    for event in run():
        report(event)
    for line in stream.getvalue().splitlines():
        VALIDATOR.validate(json.loads(line))


@pytest.mark.parametrize(
    "line",
    [
        {"schema": 2, "event": "summary", "hosts": {}},
        {"schema": 1, "event": "summary"},
        {"schema": 1, "event": "summary", "hosts": {"w1": {"ok": "1"}}},
        {"schema": 1, "event": "host_connected", "host": "w1", "seconds": 1},
    ],
)
def test_what_is_no_such_line_does_not_fit(line: dict) -> None:
    assert not VALIDATOR.is_valid(line)


def test_what_is_added_later_fits() -> None:
    VALIDATOR.validate({"schema": 1, "event": "moon_risen", "time": "x"})
    VALIDATOR.validate({"schema": 1, "event": "summary", "hosts": {}, "more": 1})
