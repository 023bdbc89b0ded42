"""The site of the documentation: it builds without a warning and loads nothing foreign."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from provisioner.cli.main import COMMANDS
from provisioner.inventory import schema
from provisioner.playbook import modules

REPOSITORY = Path(__file__).parents[3]
LOADED = {"script": "src", "link": "href", "img": "src", "iframe": "src", "source": "src"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make site` builds it."""
    out = tmp_path_factory.mktemp("site")
    argv = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)]
    env = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        argv, cwd=REPOSITORY, env=env, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """What a page loads, and the ids in it."""

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.ids: set[str] = set()
        self.feed(file.read_text("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        address = given.get(LOADED.get(tag, ""))
        if address and given.get("rel") != "canonical":
            self.loaded.append(address)


def pages(site: Path) -> Iterator[Path]:
    yield from site.rglob("*.html")


def test_every_document_is_a_page(site: Path) -> None:
    for document in (REPOSITORY / "docs").glob("*.md"):
        folder = "" if document.stem == "index" else f"{document.stem}/"
        assert (site / f"{folder}index.html").is_file(), document.name


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for file in pages(site):
        loaded = Page(file).loaded
        assert loaded
        assert [each for each in loaded if "://" in each or each.startswith("//")] == [], file
    for sheet in site.rglob("*.css"):
        assert "url(http" not in sheet.read_text("utf-8"), sheet


def test_the_reference_has_every_command(site: Path) -> None:
    ids = Page(site / "reference/commands/index.html").ids
    assert {f"b9prov-{name}" for name in COMMANDS} <= ids


def test_the_reference_has_every_module_and_argument(site: Path) -> None:
    file = site / "reference/modules/index.html"
    assert modules.names() <= Page(file).ids
    text = file.read_text("utf-8")
    for name in modules.names():
        for argument in modules.spec(name).arguments:
            assert f"<code>{argument}</code>" in text, f"{name}: {argument}"


def test_the_reference_has_every_key_of_the_inventory(site: Path) -> None:
    text = (site / "reference/inventory/index.html").read_text("utf-8")
    sections = [schema.Document, schema.GatewaySettings, schema.StandbySettings]
    sections += [schema.GroupSettings, schema.HostSettings]
    nested = [key.kind for key in schema.HostSettings.keys.values() if isinstance(key.kind, type)]
    for section in [*sections, *nested]:
        for name in section.keys:
            assert f"<code>{name}</code>" in text, f"{section.__name__}: {name}"


def test_sources_are_no_pages(site: Path) -> None:
    assert not list(site.rglob("*.py"))
