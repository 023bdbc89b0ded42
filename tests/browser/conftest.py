"""The distribution's Chromium, which must not ask for anything but the pages of the tests."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, sync_playwright

Json = dict[str, Any]
RECORDED = Path(__file__).with_name("recorded") / "up.jsonl"


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("there is no chromium; `make setup` installs it")
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=alone)
        yield browser
        browser.close()


class Visit:
    """A page that is looked at, what it asked for and what went wrong in it."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.errors: list[str] = []
        page.on("console", lambda said: self.errors.append(f"{said.type}: {said.text}"))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("request", self._note)

    def _note(self, request: Request) -> None:
        self.asked.append(request.url)


@pytest.fixture
def visit(browser: Browser) -> Iterator[Callable[..., Visit]]:
    """Opens pages, each in a browser profile of its own; without a line on any console."""
    visits: list[Visit] = []

    def open_page(**options: Any) -> Visit:
        page = browser.new_context(viewport={"width": 1280, "height": 800}, **options).new_page()
        page.set_default_timeout(20_000)
        visits.append(Visit(page))
        return visits[-1]

    yield open_page
    for each in visits:
        each.page.context.close()
        assert each.errors == []


@pytest.fixture(scope="session")
def recorded() -> list[Json]:
    """A run of `up` on a lab: w2 was off, k3s did not start on w3, w1 and the gateway were well."""
    return [json.loads(line) for line in RECORDED.read_text("utf-8").splitlines()]
