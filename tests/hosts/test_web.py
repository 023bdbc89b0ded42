"""`b9prov web` on real hosts, in the distribution's Chromium."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver, Running
from playwright.sync_api import Page, expect, sync_playwright

PROGRAM = str(Path(sys.executable).with_name("b9prov"))
SECONDS = 30_000  # ms


@pytest.fixture
def web(ready: Driver) -> Iterator[tuple[Running, str]]:
    """It, at work, and its link."""
    running = Running([PROGRAM, "web", str(ready.inventory())], ready.env)
    try:
        running.wait_for_line("^http")
        yield running, next(line.strip() for line in running._lines if line.startswith("http"))
    finally:
        if running.process.poll() is None:
            running.kill()


@pytest.fixture
def page() -> Iterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium; `make setup` installs it")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=alone)
        yield browser.new_page()
        browser.close()


def test_what_stops_is_shown_without_a_reload_and_so_is_its_return(
    ready: Driver, web: tuple[Running, str], page: Page
) -> None:
    running, link = web
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text))
    page.goto(link)
    expect(page.locator("#headline")).to_have_text("3 of 3 workers ready", timeout=SECONDS)
    worker = page.locator("tbody[data-host=w2]")
    for name, text in (("tunnel", "up"), ("agent", "ready"), ("k3s", "active")):
        expect(worker.locator(f"[data-cell={name}]")).to_have_text(text)
    expect(worker.locator("[data-cell=keepalive]")).to_have_text(re.compile("ago$"))
    page.evaluate("window.notReloaded = true")

    host = ready.lab.host("w2")
    assert host.exec(["systemctl", "stop", "b9agent"]).returncode == 0
    expect(worker.locator("[data-cell=ready]")).to_have_text("no agent", timeout=SECONDS)
    expect(worker.locator("[data-cell=agent]")).to_have_text("inactive")
    expect(worker.locator(".why")).to_contain_text("is b9agent running?")
    expect(page.locator("#headline")).to_have_text("2 of 3 workers ready")

    assert host.exec(["systemctl", "start", "b9agent"]).returncode == 0
    expect(worker.locator("[data-cell=ready]")).to_have_text("ready", timeout=SECONDS)
    expect(page.locator("#headline")).to_have_text("3 of 3 workers ready")

    away = ready.lab.host("w3")
    gone = page.locator("tbody[data-host=w3] [data-cell=ready]")
    away.stop()
    try:
        expect(gone).to_have_text("unreachable", timeout=SECONDS)
    finally:
        away.start()
    expect(gone).to_have_text("ready", timeout=SECONDS)
    assert page.evaluate("window.notReloaded") and said == []

    running.interrupt()
    ended = running.end(10)
    assert (ended.code, ended.err) == (0, "closed\n")
    expect(page.locator("#line")).to_have_class("lost")


def test_every_kind_of_run_leaves_a_report(ready: Driver) -> None:
    """That of the network is seen in test_nettest.py, where there is an iperf3."""
    inventory, report = str(ready.inventory()), ready.home / "report.html"

    def written(*words: str) -> str:
        argv = [PROGRAM, *words, "--limit", "w1", "--report", str(report)]
        done = subprocess.run(argv, env=ready.env, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1) and "Traceback" not in done.stderr, done.stderr
        assert report.stat().st_mode & 0o777 == 0o600
        page = report.read_text("utf-8")
        report.unlink()
        return page

    page = written("up", inventory, "--check", "--diff")
    assert "the host can become a worker" in page and "nothing would change" in page
    page = written("check", "gpu", inventory)
    assert re.search(r"<h1>\d+ checks? of GPUs: ", page) and '<h2 id="gpus-title">' in page
    plan = ready.home / "monday.plan"
    assert "nothing would change" in written("plan", inventory, "-o", str(plan))
    argv = [PROGRAM, "apply", str(plan), "--report", str(report)]
    done = subprocess.run(argv, env=ready.env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and "b9prov apply" in report.read_text("utf-8"), done.stderr
