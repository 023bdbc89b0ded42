"""A systemd unit that runs with its current files, or is gone.

Not of Ansible: `systemd` with a `restart` handler starts a new service twice, and forgets the
restart when the run is killed in between. This one compares times instead: a service that was
started before the newest of its `files` was written is restarted.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True, aliases=("unit",)),
    "state": Argument("str", default="running", choices=("running", "absent")),
    "files": Argument("list", default=()),
    "timeout": Argument("float", default=330.0),
}
DIRECTORY = Path("/etc/systemd/system")
QUICK = 30.0  # seconds for systemctl calls that start nothing
JOURNAL_LINES = "20"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Start, restart or leave the unit; or stop it and remove its file."""
    name = arguments["name"]
    unit = Unit(name if "." in name else name + ".service", arguments["timeout"])
    if arguments["state"] == "absent":
        return unit.remove(context.check)
    return unit.see_to_it([unit.file, *map(Path, arguments["files"])], context.check)


class Unit:
    """One unit; `timeout` is in seconds, for its start."""

    def __init__(self, name: str, timeout: float) -> None:
        self.name, self.timeout = name, timeout
        self.file = DIRECTORY / name

    def see_to_it(self, files: list[Path], check: bool) -> Result:
        """Have the unit enabled, and running since after its files were written."""
        known = self._properties("LoadState", "UnitFileState", "ActiveState", "NeedDaemonReload")
        active = known["ActiveState"] in ("active", "reloading")
        stale = active and self._is_older_than(files)
        enabled = known["UnitFileState"] in ("enabled", "static", "alias")
        changed = not (active and enabled) or stale
        if changed and not check:
            # systemd tells of this unit's own file only, not of that of one that it starts
            others = stale and any(file.parent == DIRECTORY for file in files[1:])
            if others or known["NeedDaemonReload"] == "yes" or known["LoadState"] == "not-found":
                self._systemctl("daemon-reload")
            if not enabled:
                self._systemctl("enable", self.name)
            if not active or stale:
                self._start("restart" if stale or known["ActiveState"] != "inactive" else "start")
        did = "restarted" if stale else "started" if not active else "enabled" if changed else ""
        return {"changed": changed, "name": self.name, "msg": did}

    def remove(self, check: bool) -> Result:
        """Stop and disable the unit, and delete its file when it is one of ours."""
        known = self._properties("LoadState", "ActiveState")
        loaded = known["LoadState"] not in ("not-found", "")
        ours = self.file.exists()
        changed = ours or (loaded and known["ActiveState"] in ("active", "activating"))
        if changed and not check:
            self._systemctl("disable", "--now", self.name, timeout=self.timeout, may_fail=not ours)
            self.file.unlink(missing_ok=True)
            self._systemctl("daemon-reload")
            self._systemctl("reset-failed", self.name, may_fail=True)
        return {"changed": changed, "name": self.name}

    def _start(self, how: str) -> None:
        done = process.run(["systemctl", how, self.name], timeout=self.timeout)
        if done.rc == 0:
            return
        journal = process.run(
            ["journalctl", "-u", self.name, "-n", JOURNAL_LINES, "--no-pager", "-o", "cat"],
            timeout=QUICK,
        )
        raise ModuleFailed(
            f"{self.name} does not start: {done.stderr.strip()}",
            rc=done.rc,
            stdout=journal.stdout,
            advice=f"see: journalctl -u {self.name}",
        )

    def _is_older_than(self, files: list[Path]) -> bool:
        started = self._started()
        written = [file.stat().st_mtime for file in files if file.exists()]
        return started is not None and max(written, default=0.0) > started

    def _started(self) -> float | None:
        """When it was started (a service: its main process), in Unix seconds; None when it was not.

        `systemctl show` gives whole seconds only, hence the bus.
        """
        kind, moment = "Unit", "ActiveEnterTimestamp"
        if self.name.endswith(".service"):
            kind, moment = "Service", "ExecMainStartTimestamp"
        done = process.run(
            [
                "busctl",
                "--json=short",
                "get-property",
                "org.freedesktop.systemd1",
                f"/org/freedesktop/systemd1/unit/{_escaped(self.name)}",
                f"org.freedesktop.systemd1.{kind}",
                moment,
            ],
            timeout=QUICK,
        )
        if done.rc != 0:
            return None
        microseconds = json.loads(done.stdout)["data"]
        return microseconds / 1e6 if microseconds else None

    def _properties(self, *names: str) -> dict[str, str]:
        done = self._systemctl("show", self.name, "--property=" + ",".join(names))
        found = dict(line.partition("=")[::2] for line in done.splitlines())
        return {name: found.get(name, "") for name in names}

    def _systemctl(self, *words: str, timeout: float = QUICK, may_fail: bool = False) -> str:
        done = process.run(["systemctl", *words], timeout=timeout)
        if done.rc != 0 and not may_fail:
            raise ModuleFailed(
                f"systemctl {' '.join(words)} failed: {done.stderr.strip()}", rc=done.rc
            )
        return done.stdout


def _escaped(name: str) -> str:
    """The unit's name as its object path has it."""
    return "".join(
        character if character.isascii() and character.isalnum() else f"_{ord(character):02x}"
        for character in name
    )
