"""Conversations with real runners, which are processes on this machine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from provisioner.ssh.bootstrap import command
from provisioner.ssh.conversation import Conversation
from provisioner.ssh.pipes import ProcessPipe

Converse = Callable[..., Conversation]


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
