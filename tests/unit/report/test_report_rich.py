"""The terminal's report, on recorded consoles."""

from __future__ import annotations

import io

from report_events import WHERE, finished, rerun, run
from rich.console import Console

from provisioner.engine.events import (
    HostConnected,
    HostSummary,
    RunFinished,
    RunStarted,
    TaskProgress,
    TaskStarted,
)
from provisioner.report.livetable import LiveTable, choose
from provisioner.report.picture import picture
from provisioner.report.rich import Rich
from provisioner.report.track import HostTrack, Track


def recorded(events: list, **options: object) -> tuple[str, str]:
    """What remains on the screen as text, and every byte that was sent to it."""
    stream = io.StringIO()
    console = Console(
        file=stream,
        width=100,
        height=30,
        force_terminal=True,
        record=True,
        color_system="truecolor",
    )
    report = Rich(stream, rerun, console=console, **options)
    try:
        for event in events:
            report(event)
    finally:
        report.close()
    return console.export_text(), stream.getvalue()


def drawn(track: Track, width: int = 120, height: int = 30) -> str:
    stream = io.StringIO()
    Console(file=stream, width=width, height=height).print(LiveTable(track))
    return stream.getvalue()


def test_changes_failures_and_the_summary_are_shown() -> None:
    text, raw = recorded(run())
    assert "● w1  changed  k3s : configure k3s 1.2s" in text
    assert "preflight : disk" not in text
    assert "✗ w2 k3s : install k3s" in text
    for part in ("install k3s '/usr/local/bin dir'", "23", "line 24", "free 3 GiB on /usr"):
        assert part in text
    assert "line 4\n" not in text
    assert "2 of 3 hosts failed; the other 1 host finished" in text
    assert "retry just those: b9prov up inventory.yaml --limit w2,w3" in text
    assert "\x1b[?25l" in raw and raw.rindex("\x1b[?25h") > raw.rindex("\x1b[?25l")


def test_the_final_table_has_a_row_a_host() -> None:
    text, _ = recorded(run())
    rows = [line.split() for line in text.splitlines() if line.startswith((" ✓", " ✗"))]
    assert [row[:6] for row in rows] == [
        ["✓", "w1", "2", "2", "1", "0"],
        ["✗", "w2", "4", "0", "0", "1"],
        ["✗", "w3", "0", "0", "0", "unreachable"],
    ]


def test_diffs_are_coloured() -> None:
    _, raw = recorded(run(), diff=True)
    assert "\x1b[32m+b: 3" in raw and "\x1b[31m-b: 2" in raw


def test_check_mode_and_no_change_are_said() -> None:
    hosts = {"w1": HostSummary(ok=1), "w2": HostSummary(ok=1)}
    text, _ = recorded([RunStarted("up.yaml", ("w1", "w2")), RunFinished(hosts, 1.0)])
    assert "✓ all 2 hosts are as described; nothing changed" in text
    text, _ = recorded(run(check=True))
    assert "○ w1  would change  k3s : configure k3s" in text


def test_text_of_hosts_is_neither_markup_nor_escapes() -> None:
    evil = "[bold]x[/bold] :smile: \x1b[2J\x1b]0;t\x07"
    text, raw = recorded([finished("w1", evil, "failed", {"msg": evil})])
    assert "[bold]x[/bold] :smile:" in text
    assert "\x1b[2J" not in raw and "\x1b]0" not in raw


def test_the_live_table_shows_task_bytes_rate_and_time(clock) -> None:
    track = Track(clock)
    track(RunStarted("up.yaml", ("w1", "w2")))
    track(HostConnected("w1", 0.3))
    track(TaskStarted("w1", "ollama : pull", "command", "x:1"))
    for second in range(6):
        clock.now = 100.0 + second
        track(TaskProgress("w1", "ollama : pull", second * 2**30, 10 * 2**30, "model"))
    text = drawn(track)
    assert "2 hosts, 1 busy · 5.0s" in text
    assert "ollama : pull" in text
    assert "5.0 GiB of 10.0 GiB (50%), 1.0 GiB/s" in text and "━" in text
    assert "waiting" in text
    assert "━" not in drawn(track, width=80), "the words come before the bar"


def test_an_end_that_is_told_late_does_not_hide_the_task_under_way(clock) -> None:
    track = Track(clock)
    host = track.host("w1")
    track(TaskStarted("w1", "task 1", "command", WHERE))
    track(TaskStarted("w1", "task 2", "command", WHERE))
    track(TaskProgress("w1", "task 2", 1, 2, "file"))
    track(finished("w1", "task 1", "ok"))
    assert (host.state, host.task) == ("running", "task 2") and host.meter is not None
    track(finished("w1", "task 2", "ok"))
    assert host.state == "idle" and host.meter is None


def test_attempts_of_a_task_end_together(clock) -> None:
    track = Track(clock)
    for _ in range(3):
        track(TaskStarted("w1", "wait", "uri", WHERE))
    track(finished("w1", "wait", "ok", {"attempts": 3}))
    assert track.hosts["w1"].state == "idle"


def test_the_live_table_is_never_taller_than_the_screen(clock) -> None:
    track = Track(clock)
    names = tuple(f"host{number:03}" for number in range(200))
    track(RunStarted("up.yaml", names))
    for name in names[150:160]:
        track(TaskStarted(name, "k3s : install", "command", "x:1"))
    track(finished("host199", "k3s : install", "failed", {"msg": "no space"}))
    lines = drawn(track, width=80, height=20).splitlines()
    assert len(lines) <= 19
    assert "host199" in lines[1] and "no space" in lines[1]
    assert all(f"host{number}" in "\n".join(lines) for number in range(150, 160))
    assert lines[-1].strip() == "… and 184 more"


def test_failed_hosts_do_not_crowd_out_running_ones() -> None:
    hosts = [HostTrack(f"f{number}", "failed") for number in range(20)]
    hosts += [HostTrack(f"r{number}", "running") for number in range(20)]
    shown = [host.name for host in choose(hosts, 10)]
    assert shown == ["f0", "f1", "f2", "f3", "f4", "r0", "r1", "r2", "r3", "r4"]


def test_of_very_many_hosts_the_table_lists_those_in_trouble() -> None:
    hosts = {f"host{number:03}": HostSummary(ok=1) for number in range(300)}
    hosts["host299"] = HostSummary(failed=1, reason="no space")
    text, _ = recorded([RunStarted("up.yaml", tuple(hosts)), RunFinished(hosts, 1.0)])
    assert "✗ host299" in text and "… and 240 hosts more" in text


def test_an_unfinished_host_has_no_tick() -> None:
    hosts = {"w1": HostSummary(ok=1), "w2": HostSummary(ok=1)}
    text, _ = recorded([RunStarted("up.yaml", ("w1", "w2")), RunFinished(hosts, 1, True, ("w2",))])
    assert " ✓ w1" in text and " … w2" in text and "✗ w2 unfinished: not begun" in text


def test_a_file_gets_no_cursor_movements() -> None:
    stream = io.StringIO()
    report = Rich(stream, rerun)
    for event in run():
        report(event)
    report.close()
    report.close()
    assert "\x1b" not in stream.getvalue() and "w1" in stream.getvalue()


def test_a_picture_holds_the_text_and_fetches_nothing() -> None:
    svg = picture("\x1b[32mready\x1b[0m w1\n", "b9prov up")
    assert svg.startswith("<svg") and "ready" in svg and "b9prov&#160;up" in svg
    assert "url(https" not in svg and 'url("https' not in svg
