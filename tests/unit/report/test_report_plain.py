"""The lines for logs, as golden text."""

from __future__ import annotations

import errno
import io

import pytest
from report_events import DIFF, FAILURE, finished, rerun, run

from provisioner.engine.events import (
    HostSummary,
    HostWaiting,
    RunFinished,
    RunStarted,
    TaskProgress,
    TaskStarted,
)
from provisioner.report import make_report
from provisioner.report.plain import Plain

GOLDEN = """\
up.yaml on 3 hosts: w1, w2, w3

play: make workers ready (3 hosts)
w3  unreachable  connection refused
    advice    is sshd running there?
w1  changed  k3s : configure k3s (1.2s)
w1  changed  k3s : install k3s [amd64] (on gateway) (1.2s)
w1  ignored  k3s : probe: not there yet (1.2s)
w2  failed   k3s : install k3s (12s)
    at        roles/k3s/tasks/main.yaml:12
    command   install k3s '/usr/local/bin dir'
    exit code 23
    reason    non-zero return code
    stderr    | (4 lines before)
{stderr}
    advice    free 3 GiB on /usr

w1: ok=2 changed=2 skipped=1 failed=0
w2: ok=4 changed=0 skipped=0 failed=1
w3: ok=0 changed=0 skipped=0 failed=0 unreachable

w2 failed: k3s : install k3s: non-zero return code
w3 unreachable: connection refused
    advice    is sshd running?
2 of 3 hosts failed; the other 1 host finished (42s)
retry just those: b9prov up inventory.yaml --limit w2,w3
""".replace("{stderr}", "\n".join(f"              | line {n}" for n in range(5, 25)))


def written(events: list, **options: object) -> str:
    stream = io.StringIO()
    report = make_report("plain", stream=stream, rerun=rerun, **options)
    for event in events:
        report(event)
    report.close()
    return stream.getvalue()


def ended(hosts: dict[str, HostSummary], check: bool = False, **more: object) -> str:
    events = [RunStarted("up.yaml", tuple(hosts), check), RunFinished(hosts, 3.0, **more)]
    return written(events)


def test_a_run_reads_as_the_golden_text() -> None:
    assert written(run()) == GOLDEN


def test_verbose_adds_ok_skipped_and_connections() -> None:
    text = written(run(), verbose=1)
    assert "w1  connected  (0.4s)\n" in text
    assert "w1  ok       preflight : disk (1.2s)\n" in text
    assert "w1  skipped  nvidia : driver (1.2s)\n" in text
    assert "12 GiB free" not in text
    assert "msg       12 GiB free" in written(run(), verbose=2)


def test_diffs_are_shown_when_asked_for() -> None:
    assert "/etc/k3s.yaml" not in written(run())
    assert (
        "    --- /etc/k3s.yaml (before)\n    +++ /etc/k3s.yaml (after)\n"
        "    @@ -1,2 +1,2 @@\n     a: 1\n    -b: 2\n    +b: 3\n"
    ) in written(run(), diff=True)


def test_check_mode_says_would_change_and_that_nothing_was_touched() -> None:
    text = written(run(check=True))
    assert "w1  would change  k3s : configure k3s" in text
    assert " changed  k3s" not in text
    end = ended({"w1": HostSummary(ok=1, changed=2), "w2": HostSummary(ok=3)}, check=True)
    assert "2 tasks would change on 1 host (check mode: nothing was touched)\n" in end
    same = ended({"w1": HostSummary(ok=1)}, check=True)
    assert "1 host is as described; nothing would change (check mode: nothing was" in same


def test_a_run_without_changes_says_so() -> None:
    hosts = {name: HostSummary(ok=9) for name in ("w1", "w2", "w3")}
    assert ended(hosts).endswith("\nall 3 hosts are as described; nothing changed\n")


def test_what_failed_has_a_code_and_the_page_that_explains_it() -> None:
    end = ended(
        {
            "w1": HostSummary(unreachable=True, reason="nothing answers at 10.0.0.8:22: x"),
            "w2": HostSummary(failed=1, reason="fits: 1 of 9 preflight checks failed:\n- x"),
            "w3": HostSummary(failed=1, reason="non-zero return code"),
        }
    )
    assert "w1 unreachable: nothing answers at 10.0.0.8:22: x [B9-SSH-DOWN]\n" in end
    assert "w3 failed: non-zero return code\n" in end
    explained = "b9prov explain B9-SSH-DOWN B9-PREFLIGHT"
    assert f"\nsee docs/troubleshooting.md, or: {explained}\n" in end


def test_changes_are_counted_when_all_went_well() -> None:
    hosts = {"w1": HostSummary(ok=1, changed=2), "w2": HostSummary(ok=3)}
    assert "all 2 hosts are as described now; 2 tasks changed on 1 host in 3.0s" in ended(hosts)


def test_an_interrupt_names_what_is_half_done_and_the_way_out() -> None:
    hosts = {"w1": HostSummary(ok=1), "w2": HostSummary(ok=3), "w3": HostSummary()}
    events = [
        RunStarted("playbooks/up.yaml", tuple(hosts)),
        TaskStarted("w2", "k3s : install k3s", "command", "x:1"),
        RunFinished(hosts, 3.0, interrupted=True, unfinished=("w2", "w3")),
    ]
    text = written(events)
    assert "w2 unfinished: cut off in: k3s : install k3s\n" in text
    assert "w3 unfinished: not begun\n" in text
    assert (
        "interrupted after 3.0s: w2, w3 unfinished; the next `up` finishes what is half-done"
        in text
    )
    assert "as described" not in text


def test_progress_is_told_every_ten_seconds_a_host(clock) -> None:
    stream = io.StringIO()
    report = Plain(stream, rerun, clock=clock)
    for second in range(26):
        clock.now = 100.0 + second
        report(TaskProgress("w1", "ollama : pull", second * 2**20, 100 * 2**20, "qwen"))
        report(TaskProgress("w2", "ollama : pull", second * 2**20, 0, "qwen"))
    assert stream.getvalue().splitlines() == [
        "w1  progress  ollama : pull: qwen 10.0 MiB of 100.0 MiB (10%), 1.0 MiB/s",
        "w2  progress  ollama : pull: qwen 10.0 MiB, 1.0 MiB/s",
        "w1  progress  ollama : pull: qwen 20.0 MiB of 100.0 MiB (20%), 1.0 MiB/s",
        "w2  progress  ollama : pull: qwen 20.0 MiB, 1.0 MiB/s",
    ]


def test_what_hosts_print_brings_no_escapes_into_the_log() -> None:
    evil = "\x1b[2J\x1b]0;title\x07red\x1b[0m\rover\x00\u202e\ud800"
    events = [finished("w1", evil, "failed", {"msg": evil, "stderr": evil, "advice": evil})]
    text = written(events)
    assert "\x1b" not in text and "\x00" not in text and "\u202e" not in text
    assert "over" in text
    text.encode("utf-8")


def test_debug_is_shown_and_warnings_too() -> None:
    events = [
        finished("w1", "notice", "ok", {"msg": "run:\n  useradd x"}, module="debug"),
        finished("w1", "quiet", "skipped", module="debug"),
        finished("w1", "copy", "ok", {"warnings": ["mode is odd"]}),
    ]
    assert written(events).splitlines() == [
        "w1  says     run:",
        "w1  says       useradd x",
        "w1  warning  copy: mode is odd",
    ]


def test_a_host_that_another_run_holds_is_told() -> None:
    text = written([HostWaiting("w1", "ci@runner-7, since 03:01:12")])
    assert text == "w1  waiting  for another run: ci@runner-7, since 03:01:12\n"


def test_a_failure_without_details_still_has_a_reason() -> None:
    assert "reason    it failed without a message" in written([finished("w1", "t", "failed")])
    censored = finished("w1", "t", "failed", {"censored": "hidden: no_log"})
    assert "reason    hidden: no_log" in written([censored])


def test_a_traceback_is_for_the_verbose_only() -> None:
    event = finished("w1", "t", "failed", {"msg": "KeyError", "exception": "Traceback\n  here"})
    assert "Traceback" not in written([event])
    assert "traceback | Traceback" in written([event], verbose=1)


def test_a_narrow_encoding_is_no_obstacle() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    report = make_report("plain", stream=stream, rerun=rerun)
    report(finished("w1", "caf\u00e9 \u2713", "changed"))
    assert raw.getvalue() == rb"w1  changed  caf\xe9 \u2713 (1.2s)" + b"\n"


class Failing(io.StringIO):
    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code

    def write(self, _: str) -> int:
        raise OSError(self.code, "no")


def test_a_stream_that_fails_stops_no_run() -> None:
    gone = make_report("plain", stream=Failing(errno.EPIPE), rerun=rerun)
    full = make_report("plain", stream=Failing(errno.ENOSPC), rerun=rerun)
    for event in run():
        gone(event)
        full(event)
    gone.close()
    with pytest.raises(OSError):
        full.close()


def test_the_failure_is_not_changed_by_a_diff() -> None:
    assert DIFF["diff"]["path"] not in written([FAILURE], diff=True)
