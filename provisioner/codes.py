"""The stable codes of what can go wrong: each is a section of docs/troubleshooting.md.

Codes never change their meaning, and are not taken again when one goes. The messages themselves
are written where things fail; `code_of` finds the code of a message by the words that it has in
all its forms, so that a program's output can be looked up whoever wrote it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import NamedTuple

PAGE = "docs/troubleshooting.md"


class Code(NamedTuple):
    """What a code stands for, and the words by which our own messages of it are known."""

    title: str
    words: tuple[str, ...] = ()


CODES = {
    # the machine that b9prov runs on, and what it was given
    "B9-INPUT": Code("what was asked for can't be done as it is written"),
    # the way to a host
    "B9-SSH-KEY": Code(
        "the host's key is not believed",
        ("unknown host key", "is not the known", "is not the pinned", "is revoked in known_hosts"),
    ),
    "B9-SSH-LOGIN": Code(
        "the host does not let us in",
        (" refused the key", " is encrypted", "is wanted as well", "identity_file"),
    ),
    "B9-SSH-DOWN": Code(
        "the host does not answer",
        ("nothing answers at", "no answer from", "does not resolve", "no connection to"),
    ),
    "B9-SUDO": Code(
        "we may not become root",
        ("sudo wants", "sudo refused", "may not use sudo", "by sudo", "sudo is not installed"),
    ),
    "B9-PYTHON": Code("the host has no fit Python", ("python3 is not", "is older than 3.9")),
    "B9-LOCKED": Code("another run is at work there", ("another run is at work here",)),
    "B9-LOST": Code("the connection broke off", ("the connection was lost", "no sign of life for")),
    # the host itself
    "B9-DISK": Code("a file system is full", ("MiB are free", "No space left on device")),
    "B9-CLOCK": Code("a clock is wrong", ("against the controller",)),
    "B9-GPU": Code("the GPUs can't be used", ("NVIDIA checks failed",)),
    "B9-PORT": Code("a port is taken by another program"),
    "B9-PREFLIGHT": Code("the host is not fit as it is", ("preflight checks failed",)),
    "B9-APT": Code("apt is busy or fails", ("apt is busy", "an earlier installation was cut off")),
    "B9-ARTIFACT": Code("a big file can't be had", ("no source gave", "no SHA-256 is known")),
    "B9-NOT-INSTALLED": Code("`up` has not been run there, or was undone"),
    # the gateway and its host
    "B9-GATEWAY-DOWN": Code("the gateway does not answer", ("the gateway does not answer",)),
    "B9-GATEWAY-PORT": Code(
        "something else answers, or the gateway is at another port",
        ("is that address the Beta9 gateway", "is that the Beta9 gateway"),
    ),
    "B9-GATEWAY-SICK": Code("the gateway answers, and is not well"),
    "B9-GATEWAY-HOST": Code(
        "the gateway host is not ready for tunnels",
        (
            "is not ready for tunnels",
            "sshd keeps ",
            "sshd's configuration is broken",
        ),
    ),
    "B9-GATEWAY-TSNET": Code("the gateway reaches workers by Tailscale alone"),
    "B9-ADMIN-TOKEN": Code(
        "the admin token is refused",
        (
            "the gateway does not know the admin token",
            "the token is not a cluster admin's",
            "the gateway refuses the admin token",
        ),
    ),
    "B9-POOL-LOCAL": Code(
        "the pool is the gateway's own", ("is local to the gateway's own cluster",)
    ),
    "B9-POOL-UNKNOWN": Code(
        "the gateway has no such pool",
        ("is not configured at the gateway", "the gateway refuses pool", "the gateway refused"),
    ),
    "B9-POOL-NEW": Code(
        "the gateway can't list its pools yet", ("the gateway can't list its pools yet",)
    ),
    "B9-POOL-DEGRADED": Code("the pool has no ready machine"),
    "B9-PROVIDER": Code("“provider not implemented” in the gateway's log, which is harmless"),
    # the tunnel
    "B9-TUNNEL-DOWN": Code("the tunnel is not up"),
    "B9-TUNNEL-PATH": Code("the worker does not reach the gateway host's sshd"),
    "B9-TUNNEL-HOSTKEY": Code("the tunnel does not believe the gateway host's key"),
    "B9-TUNNEL-KEY": Code("the gateway host does not take the worker's key"),
    "B9-TUNNEL-REVOKED": Code("the worker was cut off", ("was revoked on",)),
    "B9-TUNNEL-ADDRESS": Code(
        "the worker's address is not on the gateway host", ("no free address is left",)
    ),
    "B9-TUNNEL-BACK": Code("the gateway host does not reach the worker's k3s"),
    # k3s, agent, Ollama
    "B9-K3S-DOWN": Code("k3s does not run"),
    "B9-K3S-TOKEN": Code("k3s refuses the token that was registered"),
    "B9-AGENT-DOWN": Code("the agent does not run"),
    "B9-AGENT-CRASH": Code("the agent starts and ends again"),
    "B9-AGENT-CONFIG": Code("the agent can't use its settings"),
    "B9-OLLAMA-DOWN": Code("Ollama does not answer"),
    # what the gateway says to the agent
    "B9-TOKEN-UNKNOWN": Code("401: the gateway does not know the machine's token"),
    "B9-TOKEN-KIND": Code("403: the token is not a machine's"),
    "B9-PAYLOAD": Code("400 or 500: the gateway refuses what the machine says of itself"),
    "B9-GATEWAY-ERROR": Code("500: the gateway fails at its own work"),
    "B9-EXPIRED": Code("the gateway has forgotten the machine"),
    "B9-NOT-READY": Code("the machine is not ready, for a reason that has no code"),
}
_CODE = re.compile(r"\bB9-[A-Z0-9]+(?:-[A-Z0-9]+)*\b")


def code_of(message: str) -> str:
    """The code of a message of ours: the one that it names, or by its words; "" for none."""
    named = _CODE.search(message)
    if named and named[0] in CODES:
        return named[0]
    found = (code for code, about in CODES.items() if any(each in message for each in about.words))
    return next(found, "")


def marked(message: str) -> str:
    """A message with its code behind it, where it has one and does not name it."""
    code = code_of(message)
    return f"{message} [{code}]" if code and code not in message else message


def see(codes: Iterable[str]) -> str:
    """Where codes are explained, as a line that follows errors; "" for none."""
    every = list(dict.fromkeys(filter(None, codes)))
    if len(every) == 1:
        return f"see {PAGE}#{every[0].lower()}, or: b9prov explain {every[0]}"
    return f"see {PAGE}, or: b9prov explain {' '.join(every)}" if every else ""


@functools.lru_cache
def sections() -> dict[str, str]:
    """The page's section of each code, in Markdown, without its heading."""
    from provisioner.paths import data_dir  # only `explain` has to find the page

    page = (data_dir("docs") / "troubleshooting.md").read_text("utf-8")
    parts = re.split(r"^(#{2,3}) (.*)$\n", page, flags=re.MULTILINE)[1:]
    headed = zip(parts[1::3], parts[2::3], strict=True)
    return {head.strip(): text.strip() for head, text in headed if head.strip() in CODES}
