"""Units of systemd. Ansible's `systemd`: name, state, enabled, masked, daemon_reload, scope…"""

from __future__ import annotations

import os
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", aliases=("service", "unit")),
    "state": Argument("str", choices=("started", "stopped", "restarted", "reloaded")),
    "enabled": Argument("bool"),
    "masked": Argument("bool"),
    "force": Argument("bool", default=False),
    "daemon_reload": Argument("bool", default=False, aliases=("daemon-reload",)),
    "daemon_reexec": Argument("bool", default=False, aliases=("daemon-reexec",)),
    "scope": Argument("str", default="system", choices=("system", "user", "global")),
    "no_block": Argument("bool", default=False),
}

QUICK = 60.0
START_TIMEOUT = 900.0
"""A unit's own TimeoutStartSec may be infinite; our patience is not."""

PROPERTIES = (
    "Id,Names,LoadState,LoadError,ActiveState,SubState,UnitFileState,UnitFilePreset,Result,Type,"
    "MainPID,ExecMainPID,ExecMainStatus,ExecMainStartTimestamp,NRestarts,Restart,FragmentPath,"
    "DropInPaths,NeedDaemonReload,CanReload,ActiveEnterTimestamp,StateChangeTimestamp,User,Group,"
    "Description"
)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Reload systemd if asked, then bring the unit into its state."""
    name = arguments["name"]
    wanted = [arguments[key] is not None for key in ("state", "enabled", "masked")]
    if any(wanted) and not name:
        raise ModuleFailed("name is required with state, enabled and masked")
    if not (name or arguments["daemon_reload"] or arguments["daemon_reexec"]):
        raise ModuleFailed("one of the following is required: name, daemon_reload, daemon_reexec")
    if name and any(letter in name for letter in "*?["):
        raise ModuleFailed(f"glob patterns are not supported in a unit's name: {name}")
    unit = _Unit(name or "", arguments)
    result: Result = {"changed": False, "name": name}
    for option in ("daemon_reload", "daemon_reexec"):
        if arguments[option] and not context.check:
            unit.change(option.replace("_", "-"), f"{option} failed")
    if not name:
        return {**result, "status": {}}
    result["status"] = unit.status()
    for step in (_mask, _enable, _switch):
        result["changed"] |= step(unit, result, context)
    return result


class _Unit:
    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        self.name = name
        self.arguments = arguments
        self.properties: dict[str, str] = {}
        scope = arguments["scope"]
        self.options = [] if scope == "system" else [f"--{scope}"]
        self.environment = {"XDG_RUNTIME_DIR": f"/run/user/{os.geteuid()}"}
        if "XDG_RUNTIME_DIR" in os.environ:
            self.environment = {}

    def systemctl(self, *words: str, timeout: float = QUICK) -> process.Outcome:
        argv = ["systemctl", *self.options, *words]
        return process.run(argv, timeout=timeout, env=self.environment)

    def status(self) -> dict[str, str]:
        """Read and remember the unit's properties."""
        wanted = f"--property={PROPERTIES}"
        outcome = self.systemctl("show", "--no-pager", wanted, "--", self.name)
        if outcome.rc != 0:
            raise ModuleFailed(
                f"systemctl show {self.name} failed: {outcome.said}", stderr=outcome.stderr
            )
        pairs = (line.partition("=") for line in outcome.stdout.splitlines())
        self.properties = {key: value for key, _, value in pairs}
        error = self.properties.get("LoadError", "")
        if error and self.properties.get("LoadState") not in ("not-found", "masked"):
            raise ModuleFailed(f"Error loading unit file '{self.name}': {error}")
        return self.properties

    @property
    def missing(self) -> bool:
        return self.properties.get("LoadState") == "not-found"

    def require(self, context: Context) -> None:
        # in check mode an earlier task may be the one that would install the unit
        if self.missing and not context.check:
            raise ModuleFailed(f"Could not find the requested service {self.name}: host")

    def change(self, action: str, complaint: str, timeout: float = QUICK) -> None:
        words = [action] if action.startswith("daemon-") else [action, "--", self.name]
        if self.arguments["no_block"]:
            words.insert(0, "--no-block")
        if self.arguments["force"]:
            words.insert(0, "--force")
        outcome = self.systemctl(*words, timeout=timeout)
        if outcome.timed_out:
            raise ModuleFailed(f"{complaint}: no end after {timeout:.0f} s", **self.evidence())
        if outcome.rc != 0:
            said = outcome.said
            started = action in ("start", "restart", "reload", "stop")
            extra = self.evidence() if started else {}
            if extra.get("journal"):
                said += "\n" + extra["journal"]
            raise ModuleFailed(
                f"{complaint}: {said}", rc=outcome.rc, stderr=outcome.stderr, **extra
            )

    def evidence(self) -> dict[str, str]:
        """What systemd and the unit itself say of a failure."""
        scope = ["--user"] if self.arguments["scope"] == "user" else []
        status = self.systemctl("status", "--no-pager", "--full", "--lines=0", "--", self.name)
        journal = process.run(
            [
                "journalctl",
                *scope,
                "--no-pager",
                "--quiet",
                "-o",
                "cat",
                "-n",
                "20",
                "-u",
                self.name,
            ],
            timeout=QUICK,
        )
        return {"systemctl_status": status.stdout.strip(), "journal": journal.stdout.strip()}


def _mask(unit: _Unit, result: Result, context: Context) -> bool:
    wanted = unit.arguments["masked"]
    masked = unit.properties.get("UnitFileState") == "masked"
    if wanted is None or wanted == masked:
        return False
    if not context.check:
        action = "mask" if wanted else "unmask"
        unit.change(action, f"Failed to {action} the service ({unit.name})")
        result["status"] = unit.status()
    return True


def _enable(unit: _Unit, result: Result, context: Context) -> bool:
    wanted = unit.arguments["enabled"]
    if wanted is None:
        return False
    unit.require(context)
    # what `systemctl is-enabled` exits 0 for, less what Ansible leaves to systemd
    enabled = unit.properties.get("UnitFileState") in ("enabled", "static", "generated")
    result["enabled"] = wanted
    if enabled == wanted:
        return False
    if not context.check:
        action = "enable" if wanted else "disable"
        unit.change(action, f"Unable to {action} service {unit.name}")
    return True


def _switch(unit: _Unit, result: Result, context: Context) -> bool:
    wanted = unit.arguments["state"]
    if wanted is None:
        return False
    unit.require(context)
    active = unit.properties.get("ActiveState", "")
    running = active in ("active", "activating", "reloading")
    result["state"] = "stopped" if wanted == "stopped" else "started"
    if wanted == "stopped":
        action = "stop" if running or active == "deactivating" else None
    elif not running:
        action = "start"
    else:
        action = {"started": None, "restarted": "restart", "reloaded": "reload"}[wanted]
    if action is None:
        return False
    if not context.check:
        complaint = f"Unable to {action} service {unit.name}"
        unit.change(action, complaint, timeout=START_TIMEOUT)
        result["status"] = unit.status()
    return True
