"""The HTML report: what it tells, and that nothing of a run can be more than text in it.

How it looks and works in a browser is seen in tests/browser.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import stat
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from report_events import finished, rerun, run

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    RunFinished,
    RunStarted,
)
from provisioner.errors import BadInput
from provisioner.report.html import HtmlReport
from provisioner.report.html.story import Story
from provisioner.report.html.timeline import Scale, lane
from provisioner.report.html.view import view
from provisioner.report.json import JsonLines
from provisioner.report.reread import reread
from provisioner.secrets import Secret

EVIL = "</script><script>alert(1)</script><img src=x onerror='alert(1)'>\""


class Parsed(HTMLParser):
    """The tags and texts of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def attributes(self, *names: str) -> set[str]:
        return {str(attrs[name]) for _, attrs in self.tags for name in names if name in attrs}


def written(path: Path, events: Iterable[Event], command: str = "b9prov up") -> str:
    seconds = iter(range(1_000_000))
    report = HtmlReport(path, command, rerun, "1", now=lambda: 1_700_000_000 + next(seconds) / 10)
    for event in events:
        report(event)
    return path.read_text("utf-8")


def told(events: Iterable[Event], by_tables: bool = False):
    story = Story()
    for index, event in enumerate(events):
        story(event, 1_700_000_000 + index)
    return view(story, "b9prov up", rerun, by_tables)


def test_failures_come_first_with_reason_and_advice(tmp_path: Path) -> None:
    shown = told(run())
    assert (shown.headline, shown.good) == (
        "2 of 3 hosts failed; the other 1 host finished (42s)",
        False,
    )
    assert [(f.what, f.title, f.reason, f.advice) for f in shown.failures] == [
        ("failed", "k3s : install k3s", "non-zero return code", "free 3 GiB on /usr"),
        ("unreachable", "out of reach", "connection refused", "is sshd running?"),
    ]
    assert [each.host.name for each in shown.lanes] == ["w2", "w3", "w1"]
    assert shown.totals == [("failed", 1), ("changed", 2), ("ok", 4), ("skipped", 1)]
    assert shown.retry == "b9prov up inventory.yaml --limit w2,w3"
    page = written(tmp_path / "report.html", run())
    assert page.index("What went wrong") < page.index("Hosts and their tasks")
    assert "line 24" in page and "+b: 3" in page


def test_what_went_wrong_alike_on_many_hosts_is_told_once() -> None:
    hosts = [f"w{number}" for number in range(40)]
    failed = [finished(host, "install", "failed", {"msg": "disk full"}) for host in hosts]
    ends = {host: HostSummary(failed=1, reason="install: disk full") for host in hosts}
    (failure,) = told([*failed, RunFinished(ends, 1.0)]).failures
    assert [each.host.name for each in failure.hosts] == hosts


def test_tasks_told_at_once_are_laid_out_one_after_the_other() -> None:
    story = Story()
    story(RunStarted("up.yaml", ("w1",)), 100.0)
    story(HostConnected("w1", 0.5), 101.0)
    for task, seconds in (("a", 1.0), ("b", 2.0), ("c", 0.0), ("d", 1.0)):
        story(finished("w1", task, "ok", seconds=seconds), 106.0)
    story(RunFinished({"w1": HostSummary(ok=4)}, 10.0), 110.0)
    host = story.hosts["w1"]
    host.lay_out()
    assert [(task.begun, task.ended) for task in host.tasks] == [
        (102.0, 103.0),
        (103.0, 105.0),
        (105.0, 105.0),
        (105.0, 106.0),
    ]
    bars = lane(host, Scale.of(story))
    assert [(bar.kind, bar.x, bar.width) for bar in bars[:3]] == [
        ("connect", 5.0, 5.0),
        ("ok", 20.0, 10.0),
        ("ok", 30.0, 20.0),
    ]


@pytest.mark.parametrize("seconds", [0.001, 0.7, 9.9, 61, 3600, 200_000])
def test_the_scale_has_few_marks_within_it(seconds: float) -> None:
    ticks = Scale(0.0, seconds).ticks()
    assert 1 <= len(ticks) <= 9 and all(0 <= tick.x <= 93 for tick in ticks)
    assert len({tick.label for tick in ticks}) == len(ticks)


def test_a_hostile_run_has_no_tag_of_its_own(tmp_path: Path) -> None:
    usual = Parsed(written(tmp_path / "usual.html", run()))
    result = {
        **dict.fromkeys(("msg", "stdout", "stderr", "cmd", "advice", "exception"), EVIL),
        "diff": {"before": EVIL, "after": EVIL * 2, "path": EVIL},
        "warnings": [EVIL],
    }
    events = [
        RunStarted(EVIL, (EVIL,)),
        *(
            finished(EVIL, EVIL, status, result, module=EVIL, item=EVIL, delegated_to=EVIL)
            for status in ("ok", "changed", "skipped", "ignored", "rescued", "failed")
        ),
        RunFinished({EVIL: HostSummary(failed=1, reason=EVIL, advice=EVIL)}, 1.0),
    ]
    page = Parsed(written(tmp_path / "evil.html", events, command=EVIL))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in usual.tags}
    assert [tag for tag, _ in page.tags].count("script") == 1
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert EVIL in page.texts


def test_it_fetches_nothing_and_its_policy_names_its_own_parts(tmp_path: Path) -> None:
    text = written(tmp_path / "report.html", run())
    page = Parsed(text)
    links = page.attributes("href", "src", "action")
    assert links and all(link.startswith(("#", "data:")) for link in links)
    assert "url(" not in text and "@import" not in text and "://" not in text
    assert not page.attributes("style")
    (policy,) = (a["content"] for t, a in page.tags if "http-equiv" in a)
    assert policy is not None and policy.startswith("default-src 'none'")
    for tag in ("style", "script"):
        (part,) = re.findall(f"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(part.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_secrets_are_masked_wherever_they_turn_up(tmp_path: Path) -> None:
    Secret("hunter2-of-all")
    leak = "x hunter2-of-all y"
    result = {
        **dict.fromkeys(("msg", "stdout", "cmd", "advice"), leak),
        "diff": {"before": "", "after": leak, "path": leak},
        "checks": [
            {
                "name": leak,
                "ok": False,
                "severity": "error",
                "found": leak,
                "wanted": "",
                "fix": leak,
            }
        ],
        "rows": [{"from": "a", "to": "b", "ok": False, "reason": leak, "fix": leak}],
    }
    events = [
        finished("w1", leak, "changed", result, module="nvidia_check", item=leak),
        finished("w1", leak, "failed", result),
        RunFinished({"w1": HostSummary(failed=1, reason=leak, advice=leak)}, 1.0),
    ]
    page = written(tmp_path / "report.html", events, command=f"b9prov {leak}")
    assert "hunter2" not in page and "x ******** y" in page


def test_tables_of_gpus_and_network_are_those_that_came_last() -> None:
    def check(name: str, ok: bool) -> dict:
        row = {"severity": "error", "found": "no", "wanted": "yes", "fix": "do it"}
        return {"name": name, "ok": ok, **row}

    def way(gbps: float | None) -> dict:
        return {"from": "w1", "to": "w2", "way": "direct", "ok": False, "gbps": gbps}

    shown = told(
        [
            finished("w1", "look", "ok", {"checks": [check("a", False)]}, module="nvidia_check"),
            finished(
                "w1",
                "look",
                "ok",
                {"checks": [check("a", True), check("b", False)]},
                module="nvidia_check",
            ),
            finished("w1", "preflight", "ok", {"checks": [check("c", False)]}, module="preflight"),
            finished("w1", "measure", "ok", {"rows": [way(None)]}),
            finished("w1", "measure", "ok", {"rows": [way(9.5)]}),
            finished("w1", "rows of a database", "ok", {"rows": [[1, 2], [3, 4]]}),
            RunFinished({"w1": HostSummary(ok=6)}, 1.0),
        ],
        by_tables=True,
    )
    (table,) = shown.gpus
    assert (table.host, table.counts, table.well) == ("w1", "1 failed, 1 ok", False)
    assert [row["name"] for row in table.rows] == ["b", "a"]
    assert [row["gbps"] for row in shown.network] == [9.5]
    assert (shown.headline, shown.good) == ("2 checks of GPUs: 1 failed, 1 ok", False)


def test_it_is_the_same_from_the_json_lines(tmp_path: Path) -> None:
    stream = io.StringIO()
    lines = JsonLines(stream, rerun)
    for event in run():
        lines(event)
    read = list(reread(json.loads(line) for line in stream.getvalue().splitlines()))
    known = [event for event, _ in read]
    assert known[:-1] == run()[:-1]
    written(tmp_path / "live.html", run())
    assert (tmp_path / "live.html").read_text() == written(tmp_path / "again.html", known)


def test_of_a_run_that_was_killed_there_is_what_was_told(tmp_path: Path) -> None:
    shown = told(run()[:-2])
    assert (shown.headline, shown.good) == ("not finished when this report was made", False)
    assert {(f.what, f.reason) for f in shown.failures} == {
        ("unfinished", "last done: k3s : probe"),
        ("unfinished", "nothing was done on it"),
        ("unreachable", "connection refused"),
    }


@pytest.mark.parametrize("line", [{"event": "task_finished"}, {"event": "run_started", "time": 5}])
def test_lines_that_are_none_of_a_run_are_refused(line: dict) -> None:
    with pytest.raises(ValueError):
        list(reread([line]))


def test_it_is_for_its_owner_and_where_a_file_can_be(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    written(path, run())
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for wrong in (tmp_path, tmp_path / "nowhere" / "report.html"):
        with pytest.raises(BadInput, match="report file"):
            HtmlReport(wrong, "b9prov up", rerun, "1")
