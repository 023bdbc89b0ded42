"""A registered secret appears in no output of any report, wherever it hides."""

from __future__ import annotations

import html
import io
from pathlib import Path

import pytest
from report_events import PLAY
from rich.console import Console

from provisioner import secrets
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
from provisioner.report.html import HtmlReport
from provisioner.report.junit import Junit
from provisioner.report.rich import Rich
from provisioner.report.tables import render_status, render_table

WORD = 'hunter2 "quoted"  \u00e4&<\\x'
NUMBER = 8675309123
BLOCK = "-----BEGIN KEY-----\nAAAAline-one-of-it\nBBBBline-two-of-it\n-----END KEY-----"
HIDDEN = (WORD, "hunter2", str(NUMBER), "AAAAline-one-of-it", "BBBBline-two-of-it")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "_known", secrets._Index())
    monkeypatch.setattr(secrets, "_known_in_json", secrets._Index())
    for value in (WORD, str(NUMBER), BLOCK):
        secrets.register(value)


def events() -> list[Event]:
    said = f"before {WORD} after {NUMBER}\n{BLOCK}\n{'x' * 390}{WORD}"
    result = {
        "msg": said,
        "cmd": ["curl", "-H", f"token: {WORD}"],
        "rc": NUMBER,
        "stdout": said,
        "stderr": f"\x1b[31mhunter2\x1b[0m {WORD}",
        "exception": said,
        "advice": said,
        "warnings": [said],
        "nested": {WORD: [NUMBER, {"deep": WORD}]},
        "diff": [
            {"before": f"password: {WORD}\n", "after": f"password: {WORD}\n{BLOCK}", "path": WORD},
            {"before": {"owner": WORD}, "after": {"owner": NUMBER}, "path": "attributes"},
        ],
    }
    secrets.register("hunter2")
    happened: list[Event] = [
        RunStarted(f"up-{WORD}.yaml", ("w1", "w2")),
        PlayStarted(f"{PLAY} {WORD}", ("w1", "w2")),
        HostConnected("w1", 0.1),
        HostWaiting("w1", f"ci {WORD}"),
        TaskStarted("w1", f"login {WORD}", "command", f"{WORD}:1"),
        TaskProgress("w1", f"login {WORD}", 1, 2, f"http://{WORD}@x"),
        HostUnreachable("w2", said, said),
    ]
    for status in ("ok", "changed", "skipped", "ignored", "failed"):
        for module in ("command", "debug"):
            task = f"login {WORD}"
            happened.append(
                TaskFinished("w1", PLAY, task, module, f"{WORD}:1", status, 0.1, result, WORD)
            )
    end = HostSummary(failed=1, reason=said, advice=said)
    return [*happened, RunFinished({"w1": end, "w2": end}, 1.0, True, ("w2",))]


def hunt(text: str) -> None:
    flat = "".join(text.split())
    for value in HIDDEN:
        for form in (value, value.encode("unicode_escape").decode(), value.replace('"', '\\"')):
            assert form not in text
            assert "".join(form.split()) not in flat, "hidden by a line break only"
    assert secrets.MASK in text


@pytest.mark.parametrize("kind", ["plain", "json", "rich"])
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_reports_show_no_secret(kind: str, verbose: int) -> None:
    stream = io.StringIO()
    options = {"diff": True, "verbose": verbose}
    report = make_report(kind, stream=stream, rerun=lambda _: f"b9prov up {WORD}", **options)
    for event in events():
        report(event)
    report.close()
    hunt(stream.getvalue())


def test_the_live_display_shows_no_secret() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=160, force_terminal=True, height=40)
    report = Rich(stream, lambda _: WORD, diff=True, verbose=2, console=console)
    for event in events():
        report(event)
        if report._live is not None:
            report._live.refresh()
    report.close()
    hunt(stream.getvalue())


def test_the_junit_file_shows_no_secret(tmp_path: Path) -> None:
    junit = Junit(tmp_path / "junit.xml")
    for event in events():
        junit(event)
    hunt((tmp_path / "junit.xml").read_text())


def test_the_page_shows_no_secret(tmp_path: Path) -> None:
    page = HtmlReport(tmp_path / "report.html", f"b9prov {WORD}", lambda hosts: WORD, "1")
    for event in events():
        page(event)
    text = (tmp_path / "report.html").read_text()
    hunt(text)
    hunt(html.unescape(text))


@pytest.mark.parametrize("kind", ["plain", "json", "rich"])
def test_listings_show_no_secret(kind: str) -> None:
    stream = io.StringIO()
    rows = [{"name": "w1", "ready": False, "reason": WORD, "advice": WORD, "pool": WORD}]
    render_status(rows, kind, stream)
    render_table(["name", "value"], [{"name": "a", "value": [WORD, NUMBER]}], kind, stream, "all")
    hunt(stream.getvalue())


def test_a_short_password_does_not_rename_hosts() -> None:
    secrets.register("worker")
    stream = io.StringIO()
    report = make_report("json", stream=stream, rerun=lambda _: "")
    report(RunFinished({"worker1": HostSummary(), "worker2": HostSummary()}, 1.0))
    last = stream.getvalue().splitlines()[-1]
    assert '"worker1"' in last and '"worker2"' in last


def test_secrets_of_a_large_fleet_are_masked_as_those_of_one() -> None:
    """One per host: then they are found in another way."""
    several = [f"token-{number:04}-of-a-host" for number in range(500)]
    for value in several:
        secrets.register(value)
    secrets.register("token-0007-of-a-host-and-more")
    text = f"begin {several[3]}{several[499]} then token-0007-of-a-host-and-more, {several[7]}!"
    mask = secrets.MASK
    assert secrets.mask(text) == f"begin {mask}{mask} then {mask}, {mask}!"
    assert secrets.mask("token-") == "token-"
    assert secrets.mask("") == ""
