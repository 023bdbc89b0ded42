"""`b9prov web` on real hosts, in the distribution's Chromium."""

from __future__ import annotations

import os
import re
import shutil
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


def test_an_agent_that_stops_is_shown_and_so_is_its_return(
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
    assert page.evaluate("window.notReloaded") and said == []

    running.interrupt()
    ended = running.end(10)
    assert (ended.code, ended.err) == (0, "closed\n")
    expect(page.locator("#line")).to_have_class("lost")
