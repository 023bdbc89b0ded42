"""A host that is out to harm: endless output, archives that climb out, planted links, escapes."""

from __future__ import annotations

import io
import os
import re
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from provisioner.cli.failures import say
from provisioner.cli.main import program
from provisioner.remote import frames
from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import copy, lineinfile, unarchive
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.conversation import Conversation, Operation

ENOUGH = 2 << 30  # bytes that a hostile host sends
MEMORY = 64 << 10  # KiB that they may take
HELLO = frames.MARKER + frames.message({"t": "hello", "facts": {}})
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31mred\x9b0m\u202e"


class Endless:
    """A pipe whose other end says `first`, and then the same piece again and again."""

    def __init__(self, first: bytes, piece: bytes) -> None:
        self._first, self._left = io.BytesIO(first), ENOUGH
        # frames are not cut: what is tested is what is kept of them
        self._piece = piece * max(1, (1 << 20) // len(piece))
        self._greeted, self._closed = threading.Event(), False

    def write(self, data: bytes) -> None:
        self._greeted.set()

    def read(self, count: int) -> bytes:
        self._greeted.wait(20)
        if begun := self._first.read(count):
            return begun
        self._left -= len(self._piece)
        return b"" if self._left <= 0 or self._closed else self._piece

    def errors(self) -> str:
        return ""

    def close(self) -> None:
        self._closed = True
        self._greeted.set()


@contextmanager
def little_memory() -> Iterator[None]:
    """What happens meanwhile takes no more than MEMORY at any moment."""
    Path("/proc/self/clear_refs").write_text("5")  # the peak is what there is now
    before = peak()
    yield
    assert peak() - before < MEMORY


def peak() -> int:
    """The most memory that this process has had, in KiB."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1])


def test_noise_without_end_before_the_runner_takes_no_memory() -> None:
    talk = Conversation(Endless(b"", b"welcome to this host\r\n"), 0.0)
    with little_memory(), pytest.raises(Unreachable):
        talk.begin(None)
        talk.greet(exclusive=False)


@pytest.mark.parametrize(
    "message",
    [
        {"t": "alive"},
        {"t": "progress", "id": 0, "done": 1, "total": 2, "label": "x" * 100_000},
        {"t": "result", "id": 7, "result": {"stdout": "x" * 100_000}, "seconds": 1},
        {"t": "start", "id": 0},
    ],
    ids=lambda message: str(message["t"]),
)
def test_messages_without_end_take_no_memory(
    message: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent = frames.message(message)
    monkeypatch.setattr(f"{__name__}.ENOUGH", 100_000 * min(len(sent), 5000))
    talk = Conversation(Endless(HELLO, sent), 0.0)
    with little_memory(), pytest.raises(Unreachable):
        talk.begin(None)
        talk.greet(exclusive=False)
        talk.submit(Operation("ping", {})).result(60)
    talk.close()


# -- what it writes to the terminal


def test_what_a_host_prints_moves_no_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    (tmp_path / "inventory.yaml").write_text("hosts:\n  localhost: {pool: cpu}\n")
    (tmp_path / "said").write_text(ESCAPE)
    (tmp_path / "try.yaml").write_text(
        "- hosts: workers\n  tasks:\n"
        f"    - {{command: cat {tmp_path}/said, register: said}}\n"
        "    - {debug: {msg: '{{ said.stdout }}'}}\n"
        f"    - {{shell: 'cat {tmp_path}/said; cat >&2 {tmp_path}/said; exit 1'}}\n"
    )
    for kind in ("plain", "json", "rich"):
        play = ["play", "try.yaml", "-vv", "--diff", "--output", kind, "--junit", "junit.xml"]
        result = CliRunner().invoke(program, play)
        assert result.exit_code == 1 and "red" in result.output, result.output
        assert harmless(result.output), kind
    assert harmless((tmp_path / "junit.xml").read_text())
    shown = CliRunner().invoke(program, ["runs", "show", "last"])
    assert "red" in shown.output and harmless(shown.output)


def harmless(text: str) -> bool:
    return not any(bad in text for bad in "\x1b\x07\x9b\u202e")


def test_what_a_host_had_a_part_in_is_said_without_escapes(capsys: Any) -> None:
    say(f"error: the host says {ESCAPE} and\nanother line")
    told = capsys.readouterr().err
    assert harmless(told) and "red" in told and told.endswith("and\nanother line\n")


# -- archives and links


@pytest.fixture
def apply(tmp_path: Path) -> Callable[..., Any]:
    """Runs a module as the runner does."""

    def run(module: Any, **arguments: Any) -> Any:
        from provisioner.remote.arguments import normalise

        return module.run(normalise(arguments, module.ARGUMENTS), Context())

    return run


def member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    return info


@pytest.mark.parametrize(
    "members",
    [
        [member("../out")],
        [member("a/../../out")],
        [member("{outside}/out")],
        [member("l", tarfile.SYMTYPE, "{outside}"), member("l/out")],
        [member("l", tarfile.SYMTYPE, ".."), member("l/out")],
        [member("d/l", tarfile.SYMTYPE, "../.."), member("d/l/out")],
        [member("victim", tarfile.LNKTYPE, "{outside}/victim"), member("victim")],
        [member("victim", tarfile.SYMTYPE, "{outside}/victim"), member("victim")],
    ],
    ids=lambda members: "+".join(each.name for each in members),
)
def test_a_tar_that_climbs_out(
    apply: Callable[..., Any], tmp_path: Path, members: list[tarfile.TarInfo]
) -> None:
    outside, dest = tmp_path / "outside", tmp_path / "dest"
    outside.mkdir()
    dest.mkdir()
    (outside / "victim").write_text("as it was")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        for each in members:
            each.name = each.name.format(outside=outside)
            each.linkname = each.linkname.format(outside=outside)
            data = b"hostile" if each.isreg() else b""
            each.size = len(data)
            tar.addfile(each, io.BytesIO(data))
    with suppress(ModuleFailed):
        apply(unarchive, src=str(tmp_path / "a.tar"), dest=str(dest), remote_src=True)
    assert (outside / "victim").read_text() == "as it was"
    assert [path.name for path in outside.iterdir()] == ["victim"]
    assert not (tmp_path / "out").exists()


def test_a_link_that_was_planted_is_replaced_and_not_written_through(
    apply: Callable[..., Any], tmp_path: Path
) -> None:
    victim, planted = tmp_path / "victim", tmp_path / "planted"
    victim.write_text("as it was\n")
    planted.symlink_to(victim)
    apply(copy, content="ours\n", dest=str(planted), mode="0600")
    assert victim.read_text() == "as it was\n"
    assert planted.read_text() == "ours\n" and not planted.is_symlink()


def test_half_a_file_is_in_nobodys_reach(
    apply: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Files on the way are new ones, of a name that can't be foretold."""
    opened = []
    real = os.open

    def watched(path: Any, flags: int, *rest: Any, **more: Any) -> int:
        if flags & os.O_CREAT:
            opened.append((str(path), flags))
        return real(path, flags, *rest, **more)

    monkeypatch.setattr(os, "open", watched)
    apply(copy, content="ours\n", dest=str(tmp_path / "new"), mode="0600")
    (tmp_path / "lines").write_text("a\n")
    apply(lineinfile, path=str(tmp_path / "lines"), line="b")
    assert opened
    assert all(flags & os.O_EXCL and flags & os.O_NOFOLLOW for _, flags in opened), opened
