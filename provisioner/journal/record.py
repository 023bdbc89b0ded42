"""The record of one run, as it is kept in `run.json`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from provisioner.journal.files import to_json, write_private

SCHEMA = 1
FILE = "run.json"

# How a run stands or ended.
WELL, FAILED, INTERRUPTED, RUNNING, DIED = "well", "failed", "interrupted", "running", "died"
_RESULTS = {0: WELL, 130: INTERRUPTED}


@dataclass
class Record:
    """Times are Unix seconds. `command` shows no secrets. `hosts` maps names to how it ended there.

    `digests` are of what the run was made of (playbook, inventory, variables), under `salt` (hex).
    `exit_code` is None until the run has ended.
    """

    command: str
    playbook: str
    inventory: str
    check: bool = False
    version: str = ""
    id: str = ""
    started: float = field(default_factory=time.time)
    ended: float | None = None
    exit_code: int | None = None
    error: str = ""
    salt: str = ""
    digests: dict[str, str] = field(default_factory=dict)
    hosts: dict[str, dict[str, Any]] = field(default_factory=dict)
    retry: str = ""
    resumed: str = ""

    def save(self, folder: Path) -> None:
        """Write it to the run's folder. Raises OSError."""
        write_private(folder / FILE, to_json({"schema": SCHEMA, **asdict(self)}) + "\n")

    def result(self, alive: bool) -> str:
        """`well`, `failed`, `interrupted`; of a run without an end `running` or `died`."""
        if self.exit_code is None:
            return RUNNING if alive else DIED
        return _RESULTS.get(self.exit_code, FAILED)


def load(folder: Path) -> Record:
    """The record of a run's folder. Raises OSError, ValueError."""
    content = json.loads((folder / FILE).read_text("utf-8"))
    if not isinstance(content, Mapping) or content.get("schema") != SCHEMA:
        raise ValueError(f"{folder / FILE}: not a record of a run")
    known = {each.name for each in fields(Record)}
    try:
        return Record(**{name: value for name, value in content.items() if name in known})
    except TypeError as error:
        raise ValueError(f"{folder / FILE}: {error}") from None
