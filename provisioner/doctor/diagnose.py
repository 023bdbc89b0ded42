"""From evidence to findings: the rules about every host, in the order in which they are asked."""

from __future__ import annotations

from provisioner.codes import code_of
from provisioner.doctor import gateway, worker
from provisioner.doctor.evidence import CONTROLLER, Fleet, Host
from provisioner.doctor.findings import Finding, Repair, ordered

MOST_SKEW = 60.0  # seconds, as preflight has it
LEAST_FREE_MIB = 100
LEAST_INODES = 100


def diagnose(fleet: Fleet) -> list[Finding]:
    """All that is wrong, causes first; empty when nothing is."""
    found: list[Finding] = []
    for host in fleet.gateways:
        found += _of_any(host) if host.answered else [_unreachable(host, fleet)]
    found += gateway.findings(fleet)
    for host in fleet.workers:
        if host.answered:
            found += [*_of_any(host), *worker.findings(host, fleet)]
        else:
            found.append(_unreachable(host, fleet))
    found = _own_clock(fleet, found)
    found += gateway.pools(fleet, found)
    return ordered(found, [CONTROLLER, *(host.name for host in fleet.gateways)])


def _unreachable(host: Host, fleet: Fleet) -> Finding:
    code = code_of(host.reason) or "B9-SSH-DOWN"
    evidence = [host.reason]
    cause = "it can't be asked how it is"
    if fleet.slot(host).get("listening"):
        evidence.append("its tunnel to the gateway host is up")
        cause = "the host is alive, for its tunnel is up: look between here and there"
    advice = host.advice or "b9prov ssh INVENTORY HOST"
    return Finding(host.name, code, "it can't be looked at", cause, advice, tuple(evidence))


def _of_any(host: Host) -> list[Finding]:
    return [*_disks(host), *_clock(host)]


def _disks(host: Host) -> list[Finding]:
    found = []
    for disk in host.seen.get("here", {}).get("disks", ()):
        path, free = disk["path"], disk["free_mib"]
        shown = f"{path}: {free} of {disk['total_mib']} MiB free"
        if disk["read_only"]:
            fix = f"dmesg says why; then mount -o remount,rw {path}"
            what = f"the file system of {path} is read-only"
            found.append(Finding(host.name, "B9-DISK", what, "its disk may be failing", fix))
        elif free < max(1, min(LEAST_FREE_MIB, disk["total_mib"] // 20)):
            fix = f"du -xh --max-depth=2 {path} | sort -h | tail; then delete or move what is large"
            what, cause = f"the file system of {path} is full", "nothing can be written there"
            found.append(Finding(host.name, "B9-DISK", what, cause, fix, (shown,)))
        elif disk["inodes"] and disk["free_inodes"] < LEAST_INODES:
            fix = f"du -x --inodes --max-depth=2 {path} | sort -n | tail; then delete small files"
            what, cause = f"{path} has no inodes left", "no file can be made there"
            shown = f"{path}: {disk['free_inodes']} of {disk['inodes']} inodes free"
            found.append(Finding(host.name, "B9-DISK", what, cause, fix, (shown,)))
    return found


def _clock(host: Host) -> list[Finding]:
    if host.skew is None or abs(host.skew) <= MOST_SKEW:
        return []
    return [
        Finding(
            host.name,
            "B9-CLOCK",
            "its clock is wrong",
            "certificates may seem not to be good yet, and keepalives to be old",
            "timedatectl set-ntp true; timedatectl timesync-status",
            (f"its clock differs by {host.skew:+.0f} s from this machine's",),
            repairs=(Repair(host.name, "timedatectl set-ntp true"),),
        )
    ]


def _own_clock(fleet: Fleet, found: list[Finding]) -> list[Finding]:
    """Where all hosts are as wrong as each other, it is this machine that is."""
    skews = [host.skew for host in (*fleet.gateways, *fleet.workers) if host.skew is not None]
    wrong = [skew for skew in skews if abs(skew) > MOST_SKEW]
    if len(skews) < 2 or wrong != skews or max(skews) - min(skews) > MOST_SKEW:
        return found
    rest = [each for each in found if each.code != "B9-CLOCK"]
    what = "the clock of this machine is wrong"
    shown = f"{len(skews)} hosts agree that it differs by {-skews[0]:+.0f} s"
    fix = "timedatectl set-ntp true"
    return [*rest, Finding(CONTROLLER, "B9-CLOCK", what, "all hosts have another", fix, (shown,))]
