"""The sessions of the tunnel user on a gateway host: whose they are, and how to end them.

Which key opened a session, sshd itself tells only its log. But no key may listen elsewhere than at
its own worker's address (`permitlisten`), so a session that listens tells it as well.
"""

from __future__ import annotations

import base64
import hashlib
import os
import pwd
import re
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from provisioner.remote import process, sockets

PORT = 6443  # the gateway dials no other
END_WAIT = 5.0  # seconds in which sessions must have ended
KINDNESS = 1.0  # seconds that they have to end by themselves
LOOK = 0.02  # seconds between two looks: they are not our children to wait for
JOURNAL_TIMEOUT = 15.0
JOURNAL_LINES = "20000"
_LINE = re.compile(r"([0-9.]+) \S+ sshd(?:-session)?\[([0-9]+)\]: (.*)")
_KEY = re.compile(r"\b(?:ssh|ecdsa|sk)-[\w@.-]+ ([A-Za-z0-9+/]+=*)")


@dataclass(frozen=True)
class Session:
    """One connection: its processes, when it began (Unix seconds) and where it listens.

    `login` is the process that sshd's log names.
    """

    login: int
    pids: tuple[int, ...]
    began: float
    addresses: frozenset[str]


class Login(NamedTuple):
    """A login as sshd's log has it: from when on and, once it is over, until when."""

    pid: int
    began: float
    fingerprint: str
    ended: float | None = None


class _Process(NamedTuple):
    pid: int
    parent: int
    began: float


def sessions(user: str) -> list[Session]:
    """All connections of that user, those included that have not proven who they are yet."""
    found = {each.pid: each for each in _processes(user)}
    listening = {s.inode: s.address for s in sockets.listeners() if s.port == PORT}
    families: dict[int, list[_Process]] = {}
    for each in found.values():
        families.setdefault(each.parent if each.parent in found else each.pid, []).append(each)
    result = []
    for login, members in families.items():
        files = set().union(*(open_files(each.pid) for each in members))
        here = (address for inode, address in listening.items() if f"socket:[{inode}]" in files)
        pids = tuple(each.pid for each in members)
        began = min(each.began for each in members)
        result.append(Session(login, pids, began, frozenset(here)))
    return result


def end_listeners(user: str, address: str) -> int:
    """End the sessions that listen at this address; how many there were."""
    return end(lambda: [each for each in sessions(user) if address in each.addresses])


def end_strays(
    user: str, authorised: Collection[str], addresses: Collection[str], grace: float
) -> int:
    """End the sessions whose key is none of the `authorised` fingerprints any more.

    Those that listen at one of `addresses`, which belong to other workers, stay. What nobody can
    tell whose it is ends as well, once it is `grace` seconds old: its worker is back in a second.
    """
    return end(lambda: _strays(user, authorised, addresses, grace))


def end(choose: Callable[[], list[Session]]) -> int:
    """End the sessions that are chosen, until there are none; how many there were."""
    started, ended = time.monotonic(), set()
    while time.monotonic() - started < END_WAIT and (chosen := choose()):
        kind = time.monotonic() - started < KINDNESS
        for session in chosen:
            ended.add(session.login)
            for pid in session.pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM if kind else signal.SIGKILL)
        time.sleep(LOOK)
    return len(ended)


def logins(user: str, since: float) -> list[Login]:
    """The logins since then (Unix seconds), the oldest first, as far as the journal has them."""
    said = process.run(
        [
            *("journalctl", "-q", "--no-pager", "-o", "short-unix", "-n", JOURNAL_LINES),
            *("-t", "sshd", "-t", "sshd-session", f"--since=@{int(since)}"),
            *("--grep", f"Accepted publickey for {user} |session closed for user {user}"),
        ],
        timeout=JOURNAL_TIMEOUT,
    )
    accepted = re.compile(rf"Accepted publickey for {re.escape(user)} .*\b(SHA256:\S+)")
    found: list[Login] = []
    # some journalctl turn the order round where lines are counted and chosen
    for at, pid, text in sorted(_LINE.findall(said.stdout), key=lambda line: float(line[0])):
        if match := accepted.match(text):
            found.append(Login(int(pid), float(at), match[1]))
        else:
            for number, login in enumerate(found):
                if login.pid == int(pid) and login.ended is None:
                    found[number] = login._replace(ended=float(at))
    return found


def fingerprint(key: str) -> str:
    """`SHA256:…` of the first key in a text, as sshd's log has it; empty when there is none."""
    match = _KEY.search(key)
    if not match:
        return ""
    body = match[1] + "=" * (-len(match[1]) % 4)
    digest = hashlib.sha256(base64.b64decode(body)).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def open_files(pid: int) -> set[str]:
    """What the process's descriptors point to; nothing for one that has ended."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def _strays(
    user: str, authorised: Collection[str], addresses: Collection[str], grace: float
) -> list[Session]:
    doubtful = [each for each in sessions(user) if not each.addresses & set(addresses)]
    known = _fingerprints(user, doubtful)
    now = time.time()
    found = []
    for session in doubtful:
        opened_by = known.get(session.login)
        if opened_by is None:
            stray = bool(session.addresses) or now - session.began >= grace
        else:
            stray = opened_by not in authorised
        found += [session] if stray else []
    return found


def _fingerprints(user: str, asked: Iterable[Session]) -> dict[int, str]:
    """By their `login`, the keys that opened these sessions, as far as the log tells."""
    began = {each.login: each.began - 2 for each in asked}  # the clocks' ticks are coarse
    if not began:
        return {}
    return {
        login.pid: login.fingerprint
        for login in logins(user, min(began.values()))
        if login.began >= began.get(login.pid, float("inf"))
    }


def _processes(user: str) -> Iterable[_Process]:
    """sshd's processes that serve the user, in our network."""
    try:
        uid = pwd.getpwnam(user).pw_uid
    except KeyError:
        return
    title = re.compile(rf"sshd(-session)?: {re.escape(user)}(?![\w.-])")
    boot, network = _boot_time(), os.stat("/proc/self/ns/net").st_ino
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError, KeyError):
                status = dict(
                    line.split(":", 1) for line in (folder / "status").read_text().splitlines()
                )
                if not status["Name"].strip().startswith("sshd"):
                    continue
                # not the owner of /proc/PID: sshd's sessions are not dumpable, so that is root
                owner = int(status["Uid"].split()[0])
                shown = (folder / "cmdline").read_bytes().decode(errors="replace")
                same_network = os.stat(folder / "ns" / "net").st_ino == network
                if same_network and (owner == uid or title.match(shown)):
                    stat = (folder / "stat").read_text().rpartition(")")[2].split()
                    began = boot + int(stat[19]) / os.sysconf("SC_CLK_TCK")
                    yield _Process(int(folder.name), int(stat[1]), began)


def _boot_time() -> float:
    """Unix seconds."""
    lines = Path("/proc/stat").read_text().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("btime "))
