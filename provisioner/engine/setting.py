"""What the strands of a play work with."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from provisioner.engine.events import Sink
from provisioner.engine.tags import TagFilter
from provisioner.engine.together import Together
from provisioner.inventory import Host
from provisioner.playbook.model import Play, Task
from provisioner.playbook.templating import Templar
from provisioner.ssh.pool import Pool


class Stopped(Exception):
    """The host can't go on: the run was interrupted, or it was dropped."""


class Failed(Stopped):
    """A task of the host failed. `task` is its name, `result` what it said."""

    def __init__(self, task: str, result: dict[str, object]) -> None:
        super().__init__(task)
        self.task, self.result = task, result


@dataclass(frozen=True)
class Setting:
    """What all strands of a play share."""

    play: Play
    pool: Pool
    templar_for: Callable[[Task | None], Templar]
    find_host: Callable[[str], Host]
    emit: Sink
    tags: TagFilter
    check: bool
    diff: bool
    interrupted: threading.Event
    together: Together
