"""The documents' pictures come from real runs."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType
from xml.etree import ElementTree

import pytest
from documents import REPOSITORY


@pytest.fixture(scope="module")
def make_picture() -> ModuleType:
    path = REPOSITORY / "docs" / "make_picture.py"
    spec = importlib.util.spec_from_file_location("make_picture", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_replay_leaves_what_a_screen_would_show(make_picture: ModuleType) -> None:
    live = "\x1b[?25lone\r\n2 hosts\r\nw1 busy\r\x1b[2K\x1b[1A\x1b[2Ktwo\r\n\x1b[32mdone\x1b[0m\r\n"
    assert make_picture.replay(live) == ["one", "two", "\x1b[32mdone\x1b[0m", ""]


def test_a_command_is_run_on_a_terminal(make_picture: ModuleType) -> None:
    said = "import os, sys; print(sys.stdout.isatty(), os.get_terminal_size().columns); sys.exit(3)"
    output, code = make_picture.record([sys.executable, "-c", said])
    assert (output, code) == ("True 100\r\n", 3)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("demo", ("stand-in", "2 of 2 ready")),
        ("agent", ("Beta9 agent", "READY", "Worker pods", "stand-in", "gemma3", "Quit")),
        ("gpu", ("NVIDIA H100", "fabric manager", "it has fallen", "warning", "failed")),
        ("dashboard", ("3 workers", "ready", "Worker pods", "stand-in", "Log")),
    ],
)
def test_the_picture_is_whole_and_fetches_nothing(name: str, words: tuple[str, ...]) -> None:
    text = (REPOSITORY / "docs" / f"{name}.svg").read_text()
    ElementTree.fromstring(text)
    shown = text.replace("&#160;", " ")
    assert all(word in shown for word in words)
    assert "url(http" not in text and "<image" not in text
