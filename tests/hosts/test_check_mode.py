"""`--check` is honest: it touches nothing at all, and what it predicts is what a run then does."""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from driver import Driver, Ran, tail
from looks import machines

from provisioner.lab import Host

# What systemd, sshd and the lab's gateway write by themselves as time goes by or somebody logs in.
RESTLESS = re.compile(
    r"(proc|sys|run|dev|tmp)(/|$)"
    r"|var/log/(journal|wtmp|btmp|lastlog)"
    r"|var/lib/(systemd|private|dbus|reference-gateway)(/|$)"
    r"|var/tmp/systemd-private-"
    r"|home/admin/\.sudo_as_admin_successful$"  # of Debian's sudo, for whoever is in its group
)
UNIT_FACTS = (
    "Id ActiveState SubState UnitFileState ActiveEnterTimestampMonotonic NRestarts NeedDaemonReload"
)
PASSING = re.compile(
    r"Id=(user(-runtime-dir)?@|session-|systemd-(tmpfiles|networkd-wait|hostnamed))"
)
KERNEL = """
hostname; mount; ip -o address; ip -o rule; lsmod 2>/dev/null | cut -d' ' -f1
sysctl -a 2>/dev/null | grep -E '^(vm.swappiness|kernel.(panic|hostname)|net.ipv4.ip_forward)'
"""


def tree(host: Host) -> dict[str, str]:
    """Every path that the host has written: mode, owner, content, and of files the time.

    The lower layer is the same for all: what differs from it lies in the upper one.
    """
    top = host.directory / "upper"
    found = {}
    for folder, folders, names in os.walk(top):
        for name in (*folders, *names):
            path = Path(folder) / name
            inside = str(path.relative_to(top))
            if not RESTLESS.match(inside):
                found[f"{host.name}:/{inside}"] = described(path)
    return found


def described(path: Path) -> str:
    about = path.lstat()
    shown = f"{stat.filemode(about.st_mode)} {about.st_uid}:{about.st_gid}"
    if stat.S_ISLNK(about.st_mode):
        return f"{shown} {about.st_mtime_ns} -> {path.readlink()}"
    if stat.S_ISREG(about.st_mode):
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        return f"{shown} {about.st_mtime_ns} {about.st_size} {digest}"
    return shown


def units(host: Host) -> dict[str, str]:
    """Every unit's state, when it came to that, and whether systemd should read it again."""
    kinds = ["*.service", "*.socket", "*.timer", "*.mount", "*.path"]
    facts = UNIT_FACTS.replace(" ", ",")
    shown = host.exec(["systemctl", "show", "--all", f"-p{facts}", *kinds]).stdout
    blocks = ["\n".join(sorted(block.splitlines())) for block in shown.split("\n\n")]
    named = {re.search(r"^Id=(.*)$", block, re.MULTILINE)[1]: block for block in blocks if block}  # type: ignore[index]
    return {f"{host.name} {name}": b for name, b in named.items() if not PASSING.search(b)}


def state(*hosts: Host) -> dict[str, str]:
    """All of hosts that a run could change."""
    found: dict[str, str] = {}
    for host in hosts:
        host.exec(["systemctl", "is-system-running", "--wait"])
        kernel = host.exec(["sh", "-c", KERNEL]).stdout
        found |= {**tree(host), **units(host), f"{host.name} kernel": kernel}
    return found


def differences(before: dict[str, str], after: dict[str, str]) -> list[str]:
    return [
        f"{what}: {before.get(what)} → {after.get(what)}"
        for what in sorted({*before, *after})
        if before.get(what) != after.get(what)
    ]


def changed(ran: Ran, host: str) -> set[str]:
    """The tasks, with their items, that changed something on a host, or would."""
    events = ran.of("task_finished", host=host, status="changed")
    return {f"{each['task']} {each['item'] or ''}".strip() for each in events}


WIDE = Path(__file__).with_name("wide.yaml")

# What a check can't foretell, and why: see "Check mode" in docs/playbooks.md.
UNKNOWN_BEFORE_UP = {  # they need the worker's key and its address, which only a run makes
    "address and key on the gateway host",
    "the tunnel's program",
    "the tunnel's unit",
    "the tunnel runs",
    "the agent's configuration",
}
PROGRAMS = {"command", "shell", "raw", "temporary"}  # what they would do is not known
BY_AN_EARLIER_TASK = {"same", "unit"}  # by the time of their turn it has been done
OF_AN_EARLIER_TASK = {"removes"}  # the file to remove is another task's


@pytest.fixture
def wide(driver: Driver) -> Callable[..., Ran]:
    """Runs the wide playbook on all workers."""
    inventory = str(driver.inventory())

    def run(*words: str) -> Ran:
        ran = driver.run("play", "-i", inventory, *words, inventory=WIDE)
        assert ran.code == 0, tail(ran)
        return ran

    return run


def test_what_is_compared_changes_by_a_run_and_by_nothing_else(
    driver: Driver, tmp_path: Path
) -> None:
    lab = driver.lab
    lab.reset_all()
    playbook = tmp_path / "play.yaml"
    words = ("-i", str(driver.inventory()))
    before = state(*lab.hosts)
    for task, count in (("ping: {}", 0), ("command: touch /etc/hostname", 1)):
        playbook.write_text(f"- {{hosts: w1, become: true, tasks: [{{{task}}}]}}\n")
        ran = driver.run("play", *words, inventory=playbook)
        assert ran.code == 0, tail(ran)
        assert len(differences(before, state(*lab.hosts))) == count


def test_check_of_up_and_of_down(driver: Driver) -> None:
    lab = driver.lab
    lab.reset_all()
    before = state(*lab.hosts)
    checked = driver.up("--check")
    assert differences(before, state(*lab.hosts)) == []
    assert machines(lab) == {}
    done = driver.up()
    for host in lab.hosts:
        unknown = set() if host.name == lab.gateway.name else UNKNOWN_BEFORE_UP
        assert changed(done, host.name) - changed(checked, host.name) == unknown
        assert changed(checked, host.name) - changed(done, host.name) == set()
    before = state(*lab.hosts)
    for command in ("up", "down"):
        ran = driver.run(command, "--check")
        assert ran.code == 0, tail(ran)
        assert differences(before, state(*lab.hosts)) == [], command


def test_check_of_a_wide_play(driver: Driver, wide: Callable[..., Ran]) -> None:
    lab = driver.lab
    lab.reset_all()
    before = state(*lab.hosts)
    checked = wide("--check", "--diff")
    assert differences(before, state(*lab.hosts)) == []
    done = wide()
    assert len(differences(before, state(*lab.hosts))) > 100
    for host in lab.worker_hosts:
        found, predicted = changed(done, host.name), changed(checked, host.name)
        assert len(predicted) > 35
        assert found - predicted == PROGRAMS | OF_AN_EARLIER_TASK
        assert predicted - found == BY_AN_EARLIER_TASK
    before = state(*lab.hosts)
    checked = wide("--check", "--diff")
    assert differences(before, state(*lab.hosts)) == []
    done = wide()
    for host in lab.worker_hosts:
        found, predicted = changed(done, host.name), changed(checked, host.name)
        assert predicted == {"touched", "restarted", "creates"}
        assert found - predicted == PROGRAMS | OF_AN_EARLIER_TASK
