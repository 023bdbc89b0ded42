"""The page of `b9prov web` in Chromium, with made-up rows; tests/hosts has real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from conftest import Visit
from playwright.sync_api import Page, expect

from provisioner.agent.tui.sight import Sight
from provisioner.inventory import Host
from provisioner.web.fleet import Fleet, now
from provisioner.web.server import Server

Open = Callable[..., Visit]
ON = {"enabled": True, "mode": "server"}
VARIABLES = {"agent": {"control_port": 0}, "k3s": ON, "ollama": ON, "pool": "gpu"}
NAMES = ("w1", "w2", "<b>w3</b>")
WELL = {"state": "ready", "tunnel": {"outward": True, "inward": True}, "hostname": "10.199.0.1"}
LOST = Sight(WELL, trouble="connection refused <img src=http://192.0.2.1/x>")


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    """Three workers that nobody watches but the tests."""
    fleet = Fleet([Host(name, "192.0.2.1", variables=VARIABLES) for name in NAMES], "strict")
    yield fleet
    fleet.close()


@pytest.fixture
def server(fleet: Fleet) -> Iterator[Server]:
    server = Server(fleet)
    server.begin()
    yield server
    server.close()


def well(fleet: Fleet, *names: str) -> None:
    for name in names:
        fleet._see(name, Sight({**WELL, "last_keepalive": now() - 65}, reached=True))


def headline(page: Page, text: str) -> None:
    expect(page.locator("#headline")).to_have_text(text)


def test_rows_change_without_a_reload(server: Server, fleet: Fleet, visit: Open) -> None:
    seen = visit()
    page = seen.page
    page.goto(server.url)
    assert page.url == f"http://127.0.0.1:{server.port}/"
    headline(page, "0 of 3 workers ready")
    well(fleet, *NAMES)
    headline(page, "3 of 3 workers ready")
    expect(page.locator("tbody").first).to_contain_text("1m 0")
    fleet._see("w2", LOST)
    headline(page, "2 of 3 workers ready")
    expect(page.locator("tbody").nth(1).locator(".why")).to_be_visible()
    expect(page.locator("tbody").nth(1)).to_contain_text("<img src=http://192.0.2.1/x>")
    well(fleet, "w2")
    headline(page, "3 of 3 workers ready")
    expect(page.locator("tbody").nth(1).locator(".why")).to_be_hidden()
    place = f"http://127.0.0.1:{server.port}/"
    assert {url for url in seen.asked if not url.startswith((place, "data:"))} == set()


def test_it_is_filtered_also_by_the_keyboard(server: Server, fleet: Fleet, visit: Open) -> None:
    page = visit().page
    page.goto(server.url)
    well(fleet, "w1", NAMES[2])
    fleet._see("w2", LOST)
    headline(page, "2 of 3 workers ready")
    page.keyboard.press("/")
    page.keyboard.type("refused")
    expect(page.locator("tbody:visible")).to_have_count(1)
    page.keyboard.press("Escape")
    expect(page.locator("tbody:visible")).to_have_count(3)
    page.get_by_label("only those that are not ready").check()
    expect(page.locator("tbody:visible th")).to_have_text("w2")
    well(fleet, "w2")
    expect(page.get_by_text("No worker is as asked for.")).to_be_visible()


def test_it_comes_back_by_itself(server: Server, fleet: Fleet, visit: Open) -> None:
    seen = visit()
    page = seen.page
    page.goto(server.url)
    well(fleet, *NAMES)
    headline(page, "3 of 3 workers ready")
    port, token = server.port, server.token
    fleet.close()
    server.close()
    line = page.locator("#line")
    expect(line).to_have_class("lost")
    again = Fleet([Host(name, "192.0.2.1", variables=VARIABLES) for name in NAMES], "strict")
    other = Server(again, port)
    try:
        other.token = other._http.token = token
        other.begin()
        expect(line).to_have_text("live", timeout=20_000)
        headline(page, "0 of 3 workers ready")
        other._http.token = "of another run"
        again.close()
        expect(line).to_have_text(
            "b9prov web does not know this page; open its new link", timeout=20_000
        )
    finally:
        again.close()
        other.close()
    seen.errors[:] = [each for each in seen.errors if "Failed to load resource" not in each]


def test_another_profile_has_no_link(server: Server, visit: Open) -> None:
    seen = visit()
    seen.page.goto(server.url)
    headline(seen.page, "0 of 3 workers ready")
    stranger = visit()
    answer = stranger.page.goto(f"http://localhost:{server.port}/")
    assert answer and answer.status == 403
    expect(stranger.page.locator("body")).to_contain_text("Open the link")
    stranger.errors.clear()  # the browser's own line about the 403


def test_it_is_dark_at_night_and_there_without_scripts(
    server: Server, fleet: Fleet, visit: Open
) -> None:
    well(fleet, "w1")
    page = visit(color_scheme="dark", java_script_enabled=False).page
    page.goto(server.url)
    expect(page.locator("tbody").first).to_contain_text("ready")
    expect(page.locator("tbody")).to_have_count(3)
    expect(page.locator("body")).to_have_css("background-color", "rgb(22, 24, 27)")
