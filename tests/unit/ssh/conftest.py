"""Conversations with real runners, which are processes on this machine, and real sshds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from real_sshd import PROGRAM, Sshd, make_key

from provisioner.ssh import connect, identities
from provisioner.ssh.bootstrap import command
from provisioner.ssh.conversation import Conversation
from provisioner.ssh.pipes import ProcessPipe

Converse = Callable[..., Conversation]
MakeSshd = Callable[..., Sshd]


@pytest.fixture
def converse() -> Iterator[Converse]:
    """Opens conversations, and ends them after the test. `before` is shell run before the runner,
    as a login shell's profile is."""
    opened: list[Conversation] = []

    def open_one(before: str = "", exclusive: bool = False, wait: float = 5.0) -> Conversation:
        pipe = ProcessPipe(["/bin/sh", "-c", f"{before}\n{command(None, False)}"])
        conversation = Conversation(pipe, wait)
        opened.append(conversation)
        conversation.begin(None)
        conversation.greet(exclusive)
        return conversation

    yield open_one
    for conversation in opened:
        conversation.close()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A user's home with an empty .ssh, and no agent."""
    folder = tmp_path / "home"
    (folder / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(identities, "_unlocked", {})
    connect._config.cache_clear()
    yield folder
    connect._config.cache_clear()


@pytest.fixture
def make_sshd(home: Path, tmp_path: Path) -> Iterator[MakeSshd]:
    """Prepares sshds which the key `id` of the home may log in to, and ends them after the test."""
    if not Path(PROGRAM).exists():
        pytest.skip("there is no sshd on this machine")
    made: list[Sshd] = []
    allowed = make_key(home / "id")

    def make(*kinds: str) -> Sshd:
        made.append(Sshd.prepare(tmp_path / f"sshd{len(made)}", kinds or ("ed25519",)))
        made[-1].allow(allowed)
        return made[-1]

    yield make
    for each in made:
        each.stop()
