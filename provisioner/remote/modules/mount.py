"""A mount point and its line in fstab. ansible.posix's `mount`: path, src, fstype, opts, state…"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Any

from provisioner.remote import files, fstab, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "path": Argument("str", required=True, aliases=("name",)),
    "src": Argument("str"),
    "fstype": Argument("str"),
    "opts": Argument("str"),
    "dump": Argument("str", default="0"),
    "passno": Argument("str", default="0"),
    "boot": Argument("bool", default=True),
    "fstab": Argument("str"),
    "backup": Argument("bool", default=False),
    "state": Argument(
        "str",
        required=True,
        choices=(
            "absent",
            "absent_from_fstab",
            "mounted",
            "present",
            "unmounted",
            "remounted",
            "ephemeral",
        ),
    ),
}
TIMEOUT = 300
"""A network file system that does not answer may hang for ever."""

ELSEWHERE = (
    "Ephemeral mount point is already mounted with a different source than the specified one. "
    "Failing in order to prevent an unwanted unmount or override operation. Try replacing this "
    'command with a "state: unmounted" followed by a "state: ephemeral", or use a different '
    "destination path."
)
NOT_REMOUNTED = (
    "Options were specified with remounted, but the remount command failed. Failing in order to "
    "prevent an unexpected mount result. Try replacing this command with a "
    '"state: unmounted" followed by a "state: mounted" using the full desired mount options '
    "instead."
)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the mount point into its state."""
    state = arguments["state"]
    if state in ("mounted", "present", "ephemeral"):
        missing = [name for name in ("src", "fstype") if arguments[name] is None]
        if missing:
            raise ModuleFailed(
                f"state is {state} but all of the following are missing: {', '.join(missing)}"
            )
    mount = _Mount(arguments, context)
    action = {
        "absent": mount.remove,
        "absent_from_fstab": mount.unlist,
        "present": mount.enlist,
        "mounted": mount.ensure,
        "unmounted": mount.release,
        "remounted": mount.refresh,
        "ephemeral": mount.ensure_unlisted,
    }[state]
    mount.result["changed"] = action()
    return mount.result


class _Mount:
    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.arguments = arguments
        self.context = context
        self.state = arguments["state"]
        self.path = files.expand(arguments["path"])
        self.fstab = arguments["fstab"] or fstab.PATH
        self.opts = arguments["opts"] or "defaults"
        self.result: Result = {"changed": False, "name": self.path, "fstab": self.fstab}
        self.result["warnings"] = []
        noauto = "noauto" in self.opts.split(",")
        if arguments["boot"] and noauto:
            self.result["warnings"].append("Ignore the 'boot' due to 'opts' contains 'noauto'.")
        elif not arguments["boot"]:
            self.opts += ",noauto"
        self.result["boot"] = "yes" if arguments["boot"] else "no"
        self.result.update(opts=self.opts, dump=arguments["dump"], passno=arguments["passno"])
        self.result["backup_file"] = ""
        for name in ("src", "fstype"):
            if arguments[name] is not None:
                self.result[name] = arguments[name]
        if arguments["src"] is not None:
            self.result["src"] = files.expand(arguments["src"])

    @property
    def src(self) -> str | None:
        source: str | None = self.result.get("src")
        return source

    # -- the states

    def enlist(self) -> bool:
        """Have it in fstab."""
        names = ("src", "name", "fstype", "opts", "dump", "passno")
        entry = fstab.Entry(*(self.result[name] for name in names))
        old = fstab.read(self.fstab)
        return self._write(old, fstab.with_entry(old, entry))

    def unlist(self) -> bool:
        """Have it in fstab no more."""
        old = fstab.read(self.fstab)
        return self._write(old, fstab.without(old, self.path, self.src))

    def remove(self) -> bool:
        """Have it neither in fstab nor mounted, nor its mount point."""
        changed = self.unlist()
        if changed and not self.context.check:
            self._unmount()
            if os.path.exists(self.path):
                try:
                    os.rmdir(self.path)
                except OSError as error:
                    raise ModuleFailed(f"Error rmdir {self.path}: {error}") from None
        return changed

    def release(self) -> bool:
        """Have it not mounted, whatever fstab says."""
        mounted = self._mounted()
        if mounted and not self.context.check:
            self._unmount()
        return mounted

    def refresh(self) -> bool:
        """Mount it anew."""
        if not self.context.check:
            outcome = self._remount()
            if outcome.rc != 0:
                raise ModuleFailed(f"Error remounting {self.path}: {_said(outcome)}")
        return True

    def ensure(self) -> bool:
        """Have it in fstab, and mounted so."""
        before = fstab.read(self.fstab)
        made = self._make_mount_point()
        listed = self.enlist()
        if not self._mounted(self.src):
            self._do(self._mount, before, made)
        elif listed:
            self._do(self._remount, before, made)
        else:
            return False
        return True

    def ensure_unlisted(self) -> bool:
        """Have it mounted, and leave fstab alone."""
        made = self._make_mount_point()
        if not self._mounted(self.src):
            self._do(self._mount, None, made)
        elif self.src not in fstab.sources(self.path):
            raise ModuleFailed(ELSEWHERE)
        else:
            self._do(self._remount, None, made)
        return True

    # -- the steps

    def _mounted(self, src: str | None = None) -> bool:
        """Whether something is mounted there; a bind mount counts only if it is of `src`."""
        if os.path.ismount(self.path):
            return True
        there = fstab.sources(self.path)
        return bool(there) if src is None else src in there

    def _write(self, old: str, new: str) -> bool:
        if old == new:
            return False
        if not self.context.check:
            Path(self.fstab).parent.mkdir(parents=True, exist_ok=True)
            if self.arguments["backup"] and os.path.exists(self.fstab):
                self.result["backup_file"] = files.backup(self.fstab)
            files.write(os.path.realpath(self.fstab), new.encode())
        files.add_diff(self.result, self.context, self.fstab, (old.encode(), new.encode()))
        return True

    def _make_mount_point(self) -> list[str]:
        """Make the folder; returns all that had to be made, to be able to undo it."""
        missing = []
        path = self.path.rstrip("/")
        while path and not os.path.exists(path):
            missing.append(path)
            path = os.path.dirname(path)
        if missing and not self.context.check:
            try:
                os.makedirs(self.path, exist_ok=True)
            except OSError as error:
                raise ModuleFailed(f"Error making dir {self.path}: {error}") from None
        return missing

    def _do(self, action: Any, before: str | None, made: list[str]) -> None:
        """Mount; after a failure fstab and the folders are as before, or the next boot hangs."""
        if self.context.check:
            return
        outcome = action()
        if outcome.rc == 0:
            return
        if before is not None:
            files.write(os.path.realpath(self.fstab), before.encode())
        with contextlib.suppress(OSError):
            for path in made:
                os.rmdir(path)
        raise ModuleFailed(f"Error mounting {self.path}: {_said(outcome)}")

    def _mount(self) -> process.Outcome:
        return process.run(["mount", *self._what()], timeout=TIMEOUT)

    def _remount(self) -> process.Outcome:
        """Remount, or where that can't be done, unmount and mount."""
        extra = self.state == "remounted" and self.opts != "defaults"
        options = f"remount,{self.opts}" if extra else "remount"
        outcome = process.run(["mount", "-o", options, *self._what()], timeout=TIMEOUT)
        if outcome.rc == 0:
            return outcome
        if extra:
            raise ModuleFailed(NOT_REMOUNTED)
        outcome = process.run(["umount", self.path], timeout=TIMEOUT)
        return self._mount() if outcome.rc == 0 else outcome

    def _what(self) -> list[str]:
        if self.state == "ephemeral":
            options = ["-o", self.opts] if self.opts != "defaults" else []
            return ["-t", self.arguments["fstype"], *options, str(self.src), self.path]
        other = [] if self.fstab == fstab.PATH else ["-T", self.fstab]
        return [*other, self.path]

    def _unmount(self) -> None:
        if not self._mounted():
            return
        outcome = process.run(["umount", self.path], timeout=TIMEOUT)
        if outcome.rc != 0:
            raise ModuleFailed(f"Error unmounting {self.path}: {_said(outcome)}")


def _said(outcome: process.Outcome) -> str:
    return outcome.stdout + outcome.stderr
