"""Runs apt-get, waits for its locks and tells what went wrong."""

from __future__ import annotations

import contextlib
import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from provisioner.remote import aptlock, files, process
from provisioner.remote.module import ModuleFailed

TIMEOUT = 1800.0
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    # Ubuntu's needrestart would ask, or restart services under our feet
    "NEEDRESTART_SUSPEND": "1",
}
STAMPS = ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists")
POLICY_RC_D = Path("/usr/sbin/policy-rc.d")
AUTOMATIC = Path("/var/lib/apt/extended_states")
_MARK_TIMEOUT = 60.0
_LOCKED = re.compile(r"Could not get lock|Unable to (?:acquire|lock)")


class AptGet:
    """apt-get with one limit of time for all its waiting, in seconds."""

    def __init__(self, lock_timeout: int, options: Sequence[str] = ()) -> None:
        self.lock_timeout = lock_timeout
        self.deadline = time.monotonic() + lock_timeout
        self.options = list(options)

    def __call__(self, action: str, *words: str) -> process.Outcome:
        """Run it once its locks are free; one that slips in between is waited for too."""
        while True:
            self._wait()
            lock = ["-o", f"DPkg::Lock::Timeout={self._left()}"]
            outcome = self._run([*lock, *self.options, action, *words])
            if outcome.rc == 0:
                return outcome
            if not (_LOCKED.search(outcome.stderr) and self._left()):
                raise _failure(action, outcome)

    def simulate(self, action: str, *words: str) -> process.Outcome:
        """What it would do; takes no lock."""
        outcome = self._run(["--simulate", *self.options, action, *words])
        if outcome.rc != 0:
            raise _failure(action, outcome)
        return outcome

    def update(self, retries: int = 5, max_delay: int = 12) -> None:
        """Read the package lists anew; a source that does not answer is asked again."""
        for attempt in range(max(1, retries)):
            if attempt:
                time.sleep(min(2 ** (attempt - 1), max_delay) + random.random())  # noqa: S311 — jitter
            try:
                self("update", "-o", "APT::Update::Error-Mode=any")
                return
            except ModuleFailed as failure:
                if "lock" in failure.extra:
                    raise
                last = failure
        raise ModuleFailed(
            f"Failed to update apt cache after {max(1, retries)} retries: {last.msg}", **last.extra
        )

    def _run(self, words: list[str]) -> process.Outcome:
        argv = ["apt-get", "-y", "-q", "-o", "Dpkg::Use-Pty=0", *words]
        return process.run(argv, env=ENVIRONMENT, timeout=TIMEOUT)

    def _left(self) -> int:
        return max(0, int(self.deadline - time.monotonic()))

    def _wait(self) -> None:
        held = aptlock.wait_until_free(self._left())
        if held:
            raise ModuleFailed(
                f"apt is busy for more than {self.lock_timeout} s: {held}; wait for it to end, "
                "or raise lock_timeout",
                lock=held.path,
                holder=held.holder,
            )


def updated() -> int:
    """When the package lists were last read, in seconds since the epoch; 0: never."""
    for path in STAMPS:
        try:
            return int(os.stat(path).st_mtime)
        except OSError:
            continue
    return 0


def mark_manual(names: list[str]) -> None:
    """Keep named packages that came as someone's dependency from being removed with that."""
    with contextlib.suppress(OSError):
        marks = re.findall(
            r"^Package: (\S+)\n(?:.+\n)*?Auto-Installed: 1$", AUTOMATIC.read_text(), re.MULTILINE
        )
        automatic = sorted(set(marks) & set(names))
        if automatic:
            process.run(["apt-mark", "manual", *automatic], timeout=_MARK_TIMEOUT)


@contextlib.contextmanager
def policy_rc_d(code: int | None) -> Iterator[None]:
    """Meanwhile, what is installed starts its services as `code` says (101: not at all)."""
    if code is None:
        yield
        return
    aside = POLICY_RC_D.with_name(POLICY_RC_D.name + ".b9prov")
    if POLICY_RC_D.exists():
        os.replace(POLICY_RC_D, aside)
    try:
        files.write(POLICY_RC_D, f"#!/bin/sh\nexit {code}\n".encode(), {"mode": "0755"})
        yield
    finally:
        POLICY_RC_D.unlink(missing_ok=True)
        if aside.exists():
            os.replace(aside, POLICY_RC_D)


def summary(stdout: str) -> str:
    """What apt-get says that it does, as far as a diff has use for it."""
    _, _, text = stdout.rpartition("Reading state information...")
    lines = text.split("\n", 1)[-1].splitlines()
    end = next((i for i, line in enumerate(lines) if re.match(r"\d+ upgraded", line)), len(lines))
    return "".join(f"{line}\n" for line in lines[: end + 1])


def _failure(action: str, outcome: process.Outcome) -> ModuleFailed:
    if outcome.timed_out:
        return ModuleFailed(f"apt-get {action} did not end within {TIMEOUT:.0f} s")
    text = f"apt-get {action} failed: {outcome.said}"
    if "Unable to locate package" in outcome.stderr:
        text += " (the package lists may be old: update_cache: true)"
    elif "dpkg --configure -a" in outcome.stderr:
        text += " (an earlier installation was cut off: run `dpkg --configure -a` on the host)"
    return ModuleFailed(text, rc=outcome.rc, stdout=outcome.stdout, stderr=outcome.stderr)
