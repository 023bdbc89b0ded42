"""Tasks about the connection to a host: waiting for it, and a reboot."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from provisioner.engine.setting import Setting, Stopped
from provisioner.playbook import modules
from provisioner.remote.arguments import BadArgument, normalise
from provisioner.ssh.connect import Target, Unreachable
from provisioner.ssh.conversation import Conversation, Operation

POLL = 1.0  # seconds between tries to connect
BOOT_ID = "/proc/sys/kernel/random/boot_id"

Result = dict[str, Any]


@dataclass(frozen=True)
class Link:
    """The way to `target` as `user` (None: the login user), for a task of another host or not."""

    setting: Setting
    target: Target
    user: str | None
    check: bool
    delegated: bool

    def run(self, argv: list[str]) -> Result:
        """The result of a command there. Raises Unreachable."""
        conversation = self._conversation()
        operation = Operation("command", {"argv": argv}, exclusive=False)
        return conversation.submit(operation).result().result

    def boot_id(self) -> str:
        """What differs from one boot to the next. Raises Unreachable."""
        return str(self.run(["cat", BOOT_ID])["stdout"])

    def again(self) -> None:
        """Connect anew. Raises Unreachable."""
        self.setting.pool.drop(self.target)
        self._conversation()

    def _conversation(self) -> Conversation:
        return self.setting.pool.conversation(self.target, self.user, lend=self.delegated)

    def pause(self, seconds: float) -> None:
        """Wait. Raises Stopped when the run is interrupted meanwhile."""
        if self.setting.interrupted.wait(seconds):
            raise Stopped


def wait_for_connection(link: Link, arguments: Result) -> Result:
    """Wait until the host answers; `timeout`, `delay` and `sleep` are in seconds."""
    arguments = _checked("wait_for_connection", arguments)
    if link.check:
        return {"changed": False, "elapsed": 0}
    started = time.monotonic()
    link.pause(arguments["delay"])
    trouble = _until(link, link.again, started + arguments["timeout"], arguments["sleep"])
    elapsed = int(time.monotonic() - started)
    if trouble:
        message = f"timed out waiting for the host: {trouble}"
        return {"changed": False, "failed": True, "msg": message, "elapsed": elapsed}
    return {"changed": False, "elapsed": elapsed}


def reboot(link: Link, arguments: Result) -> Result:
    """Boot the host anew and wait until it is there again and `test_command` succeeds."""
    arguments = _checked("reboot", arguments)
    if link.check:
        return {"changed": True, "elapsed": 0, "rebooted": True}
    started = time.monotonic()
    before = link.boot_id()
    _order(link, arguments)
    link.pause(max(arguments["post_reboot_delay"], POLL))

    def is_back() -> None:
        link.again()
        if link.boot_id() == before:
            raise Unreachable("it has not gone down yet", "")
        test = link.run(["/bin/sh", "-c", arguments["test_command"]])
        if test.get("failed"):
            raise Unreachable(f"{arguments['test_command']} fails: {test.get('msg')}", "")

    trouble = _until(link, is_back, started + arguments["reboot_timeout"], POLL)
    elapsed = int(time.monotonic() - started)
    if trouble:
        message = f"the host did not come back: {trouble}"
        return {"changed": True, "failed": True, "rebooted": True, "msg": message}
    return {"changed": True, "rebooted": True, "elapsed": elapsed}


def _order(link: Link, arguments: Result) -> None:
    """Tell the host to boot; it may be gone before it has answered."""
    # a moment later, so that the answer gets through
    command = arguments["reboot_command"] or "systemctl reboot"
    later = 'exec >/dev/null 2>&1; sleep "$0"; eval "$1"'
    delay = str(max(1, arguments["pre_reboot_delay"]))
    with contextlib.suppress(Unreachable):
        link.run(["setsid", "--fork", "/bin/sh", "-c", later, delay, command])
    link.pause(arguments["pre_reboot_delay"])


def _until(link: Link, attempt: Callable[[], None], deadline: float, pause: float) -> str | None:
    """Try until it goes well; the last trouble when it did not by the deadline."""
    while True:
        try:
            attempt()
        except Unreachable as error:
            if time.monotonic() >= deadline:
                return error.reason
            link.pause(pause)
        else:
            return None


def _checked(module: str, arguments: Result) -> Result:
    try:
        return normalise(arguments, modules.spec(module).arguments)
    except BadArgument as error:
        raise Unreachable(f"{module}: {error}", "") from None


CONNECTION: dict[str, Callable[[Link, Result], Result]] = {
    "reboot": reboot,
    "wait_for_connection": wait_for_connection,
}
