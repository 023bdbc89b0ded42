"""`b9prov init`: what is written, what is refused, and a conversation on a terminal."""

from __future__ import annotations

import os
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from terminal_process import Terminal

from provisioner.cli import probes
from provisioner.cli.newinventory import Answers, Place, check, text_of
from provisioner.inventory import load_inventory

PROGRAM = [sys.executable, "-c", "from provisioner.cli.main import main; main()", "init"]
SAID = ("--host", "ann@192.0.2.1:2222", "--host", "gpu1.example.org", "--gateway-host", "192.0.2.9")


def test_what_is_said_by_options_is_written_and_valid(b9prov, folder, monkeypatch) -> None:
    done = b9prov(
        "init", *SAID, "--no-test", "--user", "bob", "--pool", "mine", "--gpu", "auto",
        "--token", "MY_TOKEN",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "inventory.yaml: 2 hosts; set MY_TOKEN before you use it",
        "next: b9prov up --check, then b9prov up",
    ]
    text = (folder / "inventory.yaml").read_text()
    assert "admin_token: !env MY_TOKEN" in text and text.count("#") > 8
    monkeypatch.setenv("MY_TOKEN", "a secret")
    loaded = load_inventory(folder / "inventory.yaml")
    w1, named = loaded.hosts.values()
    assert (w1.name, w1.user, w1.port) == ("w1", "ann", 2222)
    assert (named.name, named.user, named.port) == ("gpu1.example.org", "bob", 22)
    assert (named.variables["pool"], named.variables["gpu"]) == ("mine", "auto")
    assert loaded.gateway.host and loaded.gateway.host.user == "bob"
    assert b9prov("inventory", "validate").returncode == 0


def test_a_file_that_is_there_is_replaced_only_by_force(b9prov, folder) -> None:
    (folder / "mine.yaml").write_text("mine")
    done = b9prov("init", "mine.yaml", *SAID, "--no-test")
    assert (done.returncode, (folder / "mine.yaml").read_text()) == (2, "mine")
    assert "--force" in done.stderr
    assert b9prov("init", "mine.yaml", *SAID, "--no-test", "--force").returncode == 0
    assert stat.S_IMODE((folder / "mine.yaml").stat().st_mode) & 0o600 == 0o600


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "nobody is here to be asked"),
        (("--host", "192.0.2.1"), "nobody is here to be asked"),
        ((*SAID, "no/such/folder.yaml"), "is in no folder"),
    ],
)
def test_without_a_terminal_all_has_to_be_said(b9prov, folder, words, said) -> None:
    done = b9prov("init", *words)
    assert (done.returncode, done.stdout) == (2, "") and said in done.stderr
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "words",
    [
        ("--token", "swwMV_WA4C_FxN-_UY5UiRgdg2dTM1GUDLVUzO9c6fzyOs0BUJuXKLfxb-QcZkwAnlOGsc=="),
        ("--host", "not a host"),
        ("--host", "ann@192.0.2.1:2222"),
        ("--pool", "-"),
    ],
)
def test_answers_that_can_not_be(b9prov, folder, words) -> None:
    done = b9prov("init", *SAID, *words, "--no-test")
    assert (done.returncode, done.stdout) == (1, "") and "Traceback" not in done.stderr
    assert list(folder.iterdir()) == []
    if words[0] == "--token":
        assert words[1] not in done.stderr


def test_a_test_that_fails_keeps_it_from_being_written(b9prov, folder, listener) -> None:
    address = f"127.0.0.1:{listener.getsockname()[1]}"
    listener.close()
    words = ("init", "--host", address, "--user", "ann", "--gateway-host", address)
    done = b9prov(*words)
    assert done.returncode == 1 and "! ssh: nothing answers at" in done.stderr
    assert not (folder / "inventory.yaml").exists()
    assert b9prov(*words, "--keep").returncode == 0
    assert (folder / "inventory.yaml").exists()


@pytest.fixture
def nobody() -> Iterator[str]:
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    yield f"127.0.0.1:{port}"


def test_a_conversation(folder: Path, nobody: str) -> None:
    """An answer that fails is asked for again, then kept; Ctrl-C before the end writes nothing."""
    env = {**os.environ, "B9_ADMIN_TOKEN": "never-to-be-seen"}
    for finish in (False, True):
        terminal = Terminal(PROGRAM, env, folder)
        for question, answer in (
            ("SSH user", "ann"),
            ("Private key", "/no/such/key"),
            ("there is no file /no/such/key", None),
            ("Private key", ""),
            ("Gateway host", nobody),
            ("Keep it anyway?", "y"),
            ("Variable, or file", ""),
            ("Worker pool", "gpu"),
            ("Worker, [USER@]", nobody),
            ("Keep it anyway?", "y"),
            ("Next worker", nobody),
            ("is among the workers already", None),
            ("Next worker", ""),
        ):
            terminal.wait_for(question)
            if answer is None:
                continue
            terminal.raw = ""
            terminal.press(f"{answer}\n")
        terminal.wait_for("Are healthy GPUs wanted")
        if finish:
            terminal.press("false\n")
        else:
            terminal.process.send_signal(signal.SIGINT)
        assert terminal.end() == (0 if finish else 130), terminal.text
        assert (folder / "inventory.yaml").exists() == finish
        assert "never-to-be-seen" not in terminal.text
    assert "never-to-be-seen" not in (folder / "inventory.yaml").read_text()
    terminal = Terminal(PROGRAM, env, folder)
    terminal.wait_for("Replace it? [y/N]")
    terminal.press("\n")
    assert terminal.end() == 1


def test_odd_values_are_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = tmp_path / "key: #1"
    key.touch()
    gateway = Place("192.0.2.9", 22, "ann", str(key), "SHA256:" + "a" * 43)
    answers = Answers("yes", None, gateway, "!env TOKEN", "no", "auto", {"123": Place("192.0.2.1")})
    check(answers, tmp_path)
    monkeypatch.setenv("TOKEN", "a secret")
    path = tmp_path / "inventory.yaml"
    path.write_text(text_of(answers, path.name))
    loaded = load_inventory(path)
    assert loaded.gateway.host and loaded.gateway.host.identity_file == str(key)
    host = loaded.hosts["123"]
    assert (host.user, host.variables["pool"]) == ("yes", "no")
    assert sorted(tmp_path.iterdir()) == [path, key]


@pytest.mark.parametrize(
    ("said", "ok", "found", "count"),
    [
        ([f"GPU {index}: NVIDIA H100 (UUID: GPU-{index})" for index in (0, 1)], True, "2: NV", 2),
        (["pci", "pci"], False, "2 on the PCI bus", 2),
        (["python 3 11"], True, "none", 0),
    ],
)  # fmt: skip
def test_gpus_seen(said: list[str], ok: bool, found: str, count: int) -> None:
    finding, gpus = probes._gpus(said)
    assert (finding.ok, gpus) == (ok, count) and found in finding.found


@pytest.mark.parametrize(
    ("said", "ok"), [(["python 3 11"], True), (["python 3 8"], False), ([], False)]
)
def test_pythons_seen(said: list[str], ok: bool) -> None:
    assert probes._python(said).ok is ok
