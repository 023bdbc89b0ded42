"""The HTML report in Chromium: of a recorded run, of a hostile one and of a big one."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import Json, Visit
from playwright.sync_api import Page, expect

from provisioner.report.html import HtmlReport

Open = Callable[..., Visit]
EVIL = "</script><script>evil=1</script><img src=http://192.0.2.1/x onerror=evil=1>'\"><b>"
CHECK = {"ok": True, "severity": "error", "wanted": "550", "fix": ""}


def written(path: Path, lines: list[Json], **options: Any) -> Path:
    report = HtmlReport(path, "b9prov up", lambda hosts: "b9prov up --limit @it", "1", **options)
    report.read(lines)
    return path


def shown(page: Page) -> list[str]:
    return page.locator(".host:visible .name").all_inner_texts()


def titles(page: Page) -> int:
    return page.locator(".host .task:not([hidden])").count()


@pytest.fixture
def report(recorded: list[Json], tmp_path: Path, visit: Open) -> Visit:
    """The report of the recorded run, opened as a file."""
    seen = visit()
    seen.page.goto(written(tmp_path / "report.html", recorded).as_uri())
    return seen


def test_what_went_wrong_comes_first_and_nothing_is_fetched(report: Visit) -> None:
    page = report.page
    expect(page.locator("h1")).to_have_text(
        "2 of 4 hosts failed; the other 2 hosts finished (3.6s)"
    )
    assert page.locator(".failure h3").all_inner_texts() == ["k3s runs", "out of reach"]
    failure = page.locator(".failure").first
    expect(failure.locator(".advice")).to_have_text("see: journalctl -u k3s.service")
    expect(failure.locator("pre")).to_contain_text("no space left on /var/lib/rancher")
    assert shown(page) == ["w3", "w2", "w1", "gateway"]
    expect(page.locator("#retry")).to_have_text("b9prov up --limit @it")
    failure.get_by_role("link", name="w3").click()
    expect(page.locator(".host").first).to_have_attribute("open", "")
    assert [url for url in report.asked if not url.startswith(("file:", "data:"))] == []


def test_it_is_filtered_by_host_status_and_text(report: Visit) -> None:
    page, count = report.page, report.page.locator("#count")
    expect(count).to_have_text("4 of 4 hosts, 108 of 214 tasks and items")
    page.get_by_role("searchbox", name="Hosts").fill("w1, gate*")
    expect(count).to_contain_text("2 of 4 hosts")
    assert shown(page) == ["w1", "gateway"]
    page.get_by_role("searchbox", name="Hosts").fill("")
    page.locator(".chip.skipped").click()
    expect(count).to_have_text("4 of 4 hosts, 214 of 214 tasks and items")
    for status in ("ok", "skipped"):
        page.locator(f".chip.{status}").click()
    expect(count).to_have_text("2 of 4 hosts, 1 of 214 tasks and items")
    assert shown(page) == ["w3", "w2"]
    page.locator(".chip.ok input").focus()
    page.keyboard.press("Space")
    page.get_by_role("searchbox", name="Text").fill("NO SPACE left")
    expect(count).to_have_text("1 of 4 hosts, 1 of 214 tasks and items")
    page.get_by_role("searchbox", name="Text").fill("nothing has this")
    expect(page.get_by_text("No host and no task is as asked for.")).to_be_visible()


def test_it_is_used_by_the_keyboard_alone(report: Visit) -> None:
    page = report.page
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox", name="Text")).to_be_focused()
    page.keyboard.type("k3s runs")
    expect(page.locator("#count")).to_have_text("2 of 4 hosts, 2 of 214 tasks and items")
    page.keyboard.press("Escape")
    expect(page.locator("#count")).to_contain_text("4 of 4 hosts")
    page.locator(".host > summary").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    host = page.locator(".host").nth(2)
    expect(host).to_have_attribute("open", "")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(host.locator(".task details[open]")).to_have_count(1)


def test_a_bar_leads_to_its_task(report: Visit) -> None:
    page = report.page
    bar = page.locator(".lane").first.locator("rect.failed")
    bar.hover()
    expect(page.get_by_role("tooltip")).to_have_text("k3s runs: failed, 117 ms")
    bar.click()
    found = page.locator(".task.found")
    expect(found).to_be_in_viewport()
    expect(found.locator(".title").first).to_contain_text("k3s runs")


def test_it_is_dark_at_night_and_light_on_paper(
    recorded: list[Json], tmp_path: Path, visit: Open
) -> None:
    path = written(tmp_path / "report.html", recorded)
    colours = {}
    for scheme in ("light", "dark"):
        page = visit(color_scheme=scheme).page
        page.goto(path.as_uri())
        colour = "getComputedStyle(document.body).backgroundColor"
        colours[scheme] = page.evaluate(colour)
        page.emulate_media(media="print")
        assert page.evaluate(colour) == "rgb(255, 255, 255)"
        expect(page.locator(".filters")).to_be_hidden()
    assert colours == {"light": "rgb(252, 251, 249)", "dark": "rgb(22, 24, 27)"}


def test_without_scripts_all_is_there(recorded: list[Json], tmp_path: Path, visit: Open) -> None:
    page = visit(java_script_enabled=False).page
    page.goto(written(tmp_path / "report.html", recorded).as_uri())
    expect(page.locator(".failure")).to_have_count(2)
    expect(page.locator(".filters")).to_be_hidden()
    expect(page.locator(".host")).to_have_count(4)
    page.locator(".host .name").nth(2).click()
    expect(page.locator(".host").nth(2).locator(".task").first).to_be_visible()


def hostile() -> list[Json]:
    """Everything that a host, a playbook or an inventory can write is meant to break the page."""
    told = {"time": "2026-01-02T03:04:05.678Z", "host": EVIL}
    result = {
        "msg": EVIL,
        "stdout": EVIL,
        "stderr": f"\x00\x1b[31m{EVIL}\ud800",
        "cmd": EVIL,
        "advice": EVIL,
        "diff": {"before": EVIL, "after": f"<!--{EVIL}", "path": EVIL},
        "checks": [{**CHECK, "name": EVIL, "found": EVIL, "ok": False, "fix": EVIL}],
        "rows": [{"from": EVIL, "to": EVIL, "ok": False, "reason": EVIL, "fix": EVIL}],
    }
    task = {**told, "event": "task_finished", "play": EVIL, "where": EVIL, "seconds": 1.0}
    return [
        {**told, "event": "run_started", "playbook": EVIL, "hosts": [EVIL]},
        {**told, "event": "host_waiting", "holder": EVIL},
        *(
            {**task, "task": EVIL, "module": module, "status": status, "result": result}
            for status in ("ok", "changed", "skipped", "ignored", "failed")
            for module in ("nvidia_check", "debug", EVIL)
        ),
        {**told, "event": "host_unreachable", "reason": EVIL, "advice": EVIL},
    ]


def test_a_hostile_run_is_text(tmp_path: Path, visit: Open) -> None:
    seen = visit()
    path = tmp_path / "report.html"
    HtmlReport(path, EVIL, lambda hosts: EVIL, EVIL).read(hostile())
    seen.page.goto(path.as_uri())
    assert seen.page.evaluate("typeof evil") == "undefined"
    assert seen.page.locator("script").count() == 1
    assert seen.page.locator("img").count() == seen.page.locator("main b b").count() == 0
    expect(seen.page.locator(".host .name")).to_have_text(EVIL)
    seen.page.locator(".host .name").click()
    assert [url for url in seen.asked if not url.startswith(("file:", "data:"))] == []


def test_its_policy_stops_what_escaping_would_miss(
    recorded: list[Json], tmp_path: Path, visit: Open
) -> None:
    path = written(tmp_path / "report.html", recorded)
    evil = '<script>evil=1</script><img src="http://192.0.2.1/x"><style>h1{color:red}</style>'
    path.write_text(path.read_text("utf-8").replace("</main>", f"{evil}</main>"), "utf-8")
    seen = visit()
    seen.page.goto(path.as_uri())
    assert seen.page.evaluate("typeof evil") == "undefined"
    assert seen.page.evaluate("getComputedStyle(document.querySelector('h1')).color") != (
        "rgb(255, 0, 0)"
    )
    assert len(seen.errors) == 3 and all("Content Security Policy" in e for e in seen.errors)
    seen.errors.clear()


def big(hosts: int, tasks: int) -> list[Json]:
    """A run of so many hosts and tasks."""
    names = [f"gpu-{index:03}" for index in range(hosts)]
    moment = "2026-01-02T03:{:02}:{:02}.{:03}Z".format
    lines: list[Json] = [
        {"event": "run_started", "playbook": "up.yaml", "hosts": names, "time": moment(0, 0, 0)}
    ]
    for each in range(tasks):
        for index, name in enumerate(names):
            status = ("ok", "changed", "ok", "skipped")[(each + index) % 4]
            at = 300 * each + index
            lines.append(
                {
                    "event": "task_finished", "host": name, "play": f"play {each // 20}",
                    "task": f"role : does a thing that has a name, number {each}",
                    "module": "command", "where": f"roles/role/tasks/main.yaml:{each}",
                    "status": status, "seconds": 0.25,
                    "result": {"stdout": f"line {each} of {name}"} if status == "ok" else {},
                    "time": moment(at // 60000, at // 1000 % 60, at % 1000),
                }
            )  # fmt: skip
    counts = {"ok": tasks, "changed": 0, "skipped": 0, "failed": 0, "unreachable": False}
    end = {"end": "well", "reason": "", "advice": ""}
    finished = {"seconds": 18.0, "interrupted": False, "unfinished": [], "time": moment(0, 18, 0)}
    lines.append({"event": "run_finished", "hosts": dict.fromkeys(names, end), **finished})
    return [*lines, {"event": "summary", "hosts": dict.fromkeys(names, counts)}]


def test_two_hundred_hosts_of_sixty_tasks_are_no_burden(tmp_path: Path, visit: Open) -> None:
    path = written(tmp_path / "report.html", big(200, 60))
    assert path.stat().st_size < 6_000_000
    page = visit().page
    begun = time.monotonic()
    page.goto(path.as_uri())
    expect(page.locator("#count")).to_have_text("200 of 200 hosts, 9,000 of 12,000 tasks and items")
    loaded = time.monotonic() - begun
    begun = time.monotonic()
    page.get_by_role("searchbox", name="Text").fill("number 59")
    expect(page.locator("#count")).to_have_text("150 of 200 hosts, 150 of 12,000 tasks and items")
    filtered = time.monotonic() - begun
    print(f"{path.stat().st_size} bytes, {loaded:.2f} s to load, {filtered:.2f} s to filter")
    assert loaded < 15 and filtered < 10  # a tenth of it on a machine that does nothing else
