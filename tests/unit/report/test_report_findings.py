"""What the doctor found, as people and programs are shown it."""

from __future__ import annotations

import io
import json
from typing import Any

from provisioner.report.findings import render_findings

CAUSE: dict[str, Any] = {
    "host": "gateway",
    "code": "B9-GATEWAY-DOWN",
    "title": "the gateway does not answer",
    "what": "nothing answers at http://localhost:31994",
    "cause": "it does not run",
    "fix": "start it",
    "evidence": ["GET …: refused", "\x1b[2Jno process listens"],
    "severity": "error",
    "follows": None,
}
CONSEQUENCE = {
    **CAUSE,
    "host": "w1",
    "code": "B9-NOT-READY",
    "what": "the machine is not ready",
    "follows": {"host": "gateway", "code": "B9-GATEWAY-DOWN"},
}
NOTE = {**CAUSE, "code": "B9-PROVIDER", "what": "the log says so", "severity": "note"}


def shown(kind: str, *rows: dict[str, Any], mended: tuple[dict[str, Any], ...] = ()) -> str:
    stream = io.StringIO()
    render_findings(rows, mended, kind, stream, repairs=[])
    return stream.getvalue()


def test_consequences_stand_under_their_cause() -> None:
    lines = shown("plain", CAUSE, CONSEQUENCE, NOTE).splitlines()
    assert lines[:6] == [
        "gateway: nothing answers at http://localhost:31994 [B9-GATEWAY-DOWN]",
        "  why   it does not run",
        "  seen  GET …: refused",
        "  seen  no process listens",
        "  do    start it",
        "  so    w1: the machine is not ready [B9-NOT-READY]",
    ]
    assert lines[6] == "note: gateway: the log says so [B9-PROVIDER]"


def test_what_is_gone_is_said() -> None:
    assert shown("plain", mended=(CAUSE,)).startswith("mended: gateway: nothing answers at")


def test_json_is_one_object_with_everything() -> None:
    document = json.loads(shown("json", CAUSE, mended=(NOTE,)))
    assert document["schema"] == 1
    assert document["findings"] == [CAUSE]
    assert document["mended"] == [NOTE]
    assert document["repairs"] == []
