"""Listings, the choice of a report, retry files and the small words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from report_events import SUMMARY, rerun

from provisioner.report import (
    auto_kind,
    failed_hosts,
    make_report,
    write_retry_file,
)
from provisioner.report.diff import diff_lines
from provisioner.report.tables import render_proofs, render_status, render_table
from provisioner.report.text import duration, size, tail

READY = {
    "name": "w1",
    "ready": True,
    "machine_id": "5f3e2a11",
    "pool": "gpu",
    "address": "10.199.0.2",
    "tunnel": "active",
    "agent": "active",
    "k3s": "active",
    "ollama": "active",
    "last_keepalive_age": 12.3,
    "ssh": "ok",
    "gateway": "ready",
    "models": ["one", "two"],
    "gpus": 2,
    "forward": {"ok": True, "proof": "the health answers"},
    "reverse": {"ok": False, "proof": "another certificate"},
}
NOT_READY = {"name": "w2", "ready": False, "reason": "refused", "advice": "start it"}


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self) -> bool:
        return True


def test_status_as_text() -> None:
    stream = io.StringIO()
    render_status([READY, NOT_READY], "plain", stream)
    lines = stream.getvalue().splitlines()
    assert [line.split("  ")[0] for line in lines[:3]] == ["NAME", "w1", "w2"]
    titles = (
        "NAME READY SSH TUNNEL AGENT GATEWAY K3S OLLAMA MODELS GPUS KEEPALIVE MACHINE POOL ADDRESS"
    )
    assert lines[0].split() == titles.split()
    cells = "w1 yes ok active active ready active active one, two 2 12s ago 5f3e2a11 gpu 10.199.0.2"
    assert " ".join(lines[1].split()) == cells
    assert lines[2].split() == ["w2", "no", *["-"] * 12]
    assert lines[3:] == [
        "w2: refused (start it)",
        "1 of 2 ready",
    ]


def test_status_with_what_proves_it() -> None:
    stream = io.StringIO()
    render_status([READY, NOT_READY], "plain", stream, proofs=True)
    assert stream.getvalue().splitlines()[3:5] == [
        "w1: forward up: the health answers",
        "w1: reverse down: another certificate",
    ]


def test_proofs_of_workers() -> None:
    steps = [{"step": "the agent is ready", "ok": True, "seconds": 0.1234}]
    job = {"image": "busybox", "uid": "u", "seconds": 2.0, "nodes": ["w1"]}
    rows = [
        {"name": "w1", "ok": True, "steps": steps, "job": job},
        {"name": "w2", "ok": False, "steps": [], "job": None, "reason": "gone", "advice": "up"},
    ]
    stream = io.StringIO()
    render_proofs(rows, "plain", stream)
    shown = [" ".join(line.split()) for line in stream.getvalue().splitlines()]
    assert shown == [
        "NAME STEP OK SECONDS",
        "w1 the agent is ready yes 0.12",
        "w1: a Job of busybox ended well in 2 s",
        "w2: gone (up)",
        "1 of 2 proven",
    ]
    stream = io.StringIO()
    render_proofs(rows, "json", stream)
    assert json.loads(stream.getvalue()) == {"schema": 1, "hosts": rows}


def test_listings_as_json_hold_all_that_the_rows_hold() -> None:
    stream = io.StringIO()
    render_table(["name"], [READY, NOT_READY], "json", stream, "hosts")
    assert json.loads(stream.getvalue()) == {"schema": 1, "hosts": [READY, NOT_READY]}


def test_an_empty_listing_says_so() -> None:
    stream = io.StringIO()
    render_table(["name"], [], "plain", stream, "hosts")
    assert stream.getvalue() == "no hosts\n"


def test_listings_on_a_terminal() -> None:
    stream = Terminal()
    render_status([READY, NOT_READY], "rich", stream)
    assert "w1" in stream.getvalue() and "1 of 2 ready" in stream.getvalue()


def test_a_narrow_terminal_breaks_no_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    stream = Terminal()
    render_status([READY], "rich", stream)
    table = stream.getvalue()
    assert all(str(READY[column]) in table for column in ("machine_id", "address"))
    assert len([line for line in table.splitlines() if "w1" in line]) == 1


def test_the_kind_follows_terminal_and_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    assert auto_kind(Terminal()) == "rich"
    assert auto_kind(io.StringIO()) == "plain"
    for name, value in (("CI", "true"), ("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as patched:
            patched.setenv(name, value)
            assert auto_kind(Terminal()) == "plain"
    monkeypatch.setattr(Terminal, "encoding", "ascii")
    assert auto_kind(Terminal()) == "plain"


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="no report is called 'html'"):
        make_report("html", stream=io.StringIO(), rerun=rerun)


def test_the_retry_file_lists_failed_hosts_and_goes_when_there_are_none(tmp_path: Path) -> None:
    path = tmp_path / "new" / "retry"
    write_retry_file(path, failed_hosts(SUMMARY))
    assert path.read_text() == "w2\nw3\n"
    write_retry_file(path, [])
    assert list(path.parent.iterdir()) == []
    write_retry_file(path, [])


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0.0s"),
        (1.25, "1.2s"),
        (9.96, "10s"),
        (59.6, "1m 00s"),
        (92, "1m 32s"),
        (3599.7, "1h 00m"),
        (7500, "2h 05m"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (2**20 - 1, "1.0 MiB"),
        (2**32, "4.0 GiB"),
        (2**41, "2.0 TiB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert size(count) == text


def test_a_tail_says_how_much_came_before() -> None:
    assert tail("a\nb\nc\n", 2) == ["(1 lines before)", "b", "c"]
    assert tail("50%\r100%\r\ndone") == ["100%", "done"]


def test_a_long_diff_is_cut_and_says_so() -> None:
    after = "".join(f"line {number}\n" for number in range(500))
    shown = diff_lines({"before": "", "after": after, "path": "/etc/long"})
    assert len(shown) == 201
    assert shown[-1] == "(303 more lines of this diff are not shown)"


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("a\0b", "c", "(binary content: 3 B before, 1 B after)"),
        (b"\xff\xfe", None, "(binary content: 2 B before, nothing after)"),
        ("a\n", "a", "(they differ in newlines at the end only)"),
        ("", "x\n" * 20_000, "(too large to compare: 0 B before, 39.1 KiB after)"),
        ({"mode": "0644"}, {"mode": "0600"}, "+mode: 0600"),
        (None, "new\n", "+new"),
    ],
)
def test_diffs_of_every_sort(before: object, after: object, told: str) -> None:
    assert diff_lines({"before": before, "after": after, "path": "/x"})[-1] == told


def test_what_is_no_diff_or_no_difference_shows_nothing() -> None:
    for diff in (None, [], {}, "text", {"before": "a", "after": "a"}, [{"path": "/x"}]):
        assert diff_lines(diff) == []
