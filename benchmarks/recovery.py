"""Measures how soon a tunnel is back after a fault, beside autossh and a plain unit.

    .venv/bin/python -m benchmarks.recovery [--turns 20] [--fault NAME]...

Three workers of a lab, each with another contender's tunnel, meet the same faults at the same time.
A fault's figure is the time from its end to an answer of the worker's Kubernetes through the
reverse forward, asked for on the gateway host. It needs root; the figures of a run of full length
go to results/recovery.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.bench import B9PROV, say
from benchmarks.measure import command
from benchmarks.programs.answering import Answering
from provisioner.cli.lab import boot
from provisioner.lab import Host, Lab, lab_down

LAB = "recovery"
RESULTS = Path(__file__).parent / "results" / "recovery.json"
FULL_TURNS = 20
REST = 22.0  # seconds that a tunnel works before it meets a fault, as one does that has lasted
PATIENCE = 120.0  # seconds that it has to come back
AIMS = {
    "client killed": 0.5,
    "session killed": 0.5,
    "cut 10 s": 3.0,
    "cut 40 s": 3.0,
    "silence 10 s": 3.0,
    "silence 40 s": 3.0,
    "source port lost": 10.0,
    "worker reboots": 10.0,
}
_SSH = """\
-N -T -i /etc/b9prov/tunnel/id_ed25519 -o UserKnownHostsFile=/etc/b9prov/tunnel/known_hosts \
-o StrictHostKeyChecking=yes -o ExitOnForwardFailure=yes -o ServerAliveInterval=5 \
-o ServerAliveCountMax=3 -R {address}:6443:127.0.0.1:6443 b9tunnel@{gateway}"""
_UNIT = """\
[Unit]
After=network-online.target
StartLimitIntervalSec=0
[Service]
Environment=AUTOSSH_GATETIME=0
ExecStart={program} {ssh}
Restart=always
RestartSec=1
[Install]
WantedBy=multi-user.target
"""
OURS = "b9prov"
PEERS = {"autossh": "/usr/bin/autossh -M 0", "plain unit": "/usr/bin/ssh"}


class Site:
    """The lab, the address of each contender's worker on the gateway host, and who asks there."""

    def __init__(self, lab: Lab, contenders: dict[str, Host]) -> None:
        self.lab, self.contenders = lab, contenders
        kept = json.loads(lab.gateway.path("/var/lib/b9prov/slots.json").read_text())
        self.addresses = {
            name: kept["slots"][host.name]["address"] for name, host in contenders.items()
        }

    def back_after(self, name: str, end: float) -> float:
        """Seconds from `end`, a monotonic time, to the first answer."""
        leader = self.lab.gateway.leader()
        assert leader
        return Answering(leader.pid, self.addresses[name]).first_after(end, PATIENCE) - end


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.recovery", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--turns", type=int, default=FULL_TURNS)
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS))
    options = parser.parse_args()
    try:
        site = _site()
        taken = {each: _turns(site, each, options.turns) for each in options.fault or FAULTS}
    finally:
        lab_down(LAB, progress=say)
    figures = {fault: {n: _figures(t) for n, t in by.items()} for fault, by in taken.items()}
    print("\n".join(table(figures)))
    if options.turns >= FULL_TURNS and not options.fault:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


def _site() -> Site:
    """A lab that `b9prov up` made ready, two workers of which got another's tunnel after that."""
    lab = boot(LAB, 3, real=False)
    names = (OURS, *PEERS)
    contenders = dict(zip(names, lab.worker_hosts, strict=True))
    with tempfile.TemporaryDirectory(prefix="b9-") as room:
        say("up")
        command([str(B9PROV), "up", str(lab.inventory_path)], Path(room) / "up.log")
        subprocess.run(["apt-get", "download", "-q", "autossh"], cwd=room, check=True)
        (package,) = Path(room).glob("autossh_*.deb")
        contenders["autossh"].path("/opt/autossh.deb").write_bytes(package.read_bytes())
    _run(contenders["autossh"], "dpkg -i /opt/autossh.deb")
    site = Site(lab, contenders)
    for name, program in PEERS.items():
        ssh = _SSH.format(address=site.addresses[name], gateway=lab.gateway.address)
        host = contenders[name]
        _run(host, "systemctl disable --now b9-tunnel; rm /etc/systemd/system/b9-tunnel.service")
        host.path("/etc/systemd/system/peer-tunnel.service").write_text(
            _UNIT.format(program=program, ssh=ssh)
        )
        _run(host, "systemctl daemon-reload; systemctl enable --now peer-tunnel")
    return site


def _turns(site: Site, fault: str, turns: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in site.contenders}
    for turn in range(turns):
        for name in site.contenders:
            site.back_after(name, time.monotonic())
        time.sleep(REST)
        with ThreadPoolExecutor() as pool:
            ends = {name: pool.submit(_fault, site, fault, name) for name in site.contenders}
        for name, end in ends.items():
            taken[name].append(end.result())
        shown = ", ".join(f"{name} {seconds[-1]:.2f}" for name, seconds in taken.items())
        say(f"{fault}, {turn + 1}/{turns}: {shown} s")
    return taken


def _fault(site: Site, fault: str, name: str) -> float:
    FAULTS[fault](site, name)
    return site.back_after(name, time.monotonic())


def _client_killed(site: Site, name: str) -> None:
    _run(site.contenders[name], "pkill -KILL -x ssh")


def _session_killed(site: Site, name: str) -> None:
    listens = f"ss -Hltnp src {site.addresses[name]}:6443 | grep -o 'pid=[0-9]*' | cut -d= -f2"
    _run(site.lab.gateway, f"kill -KILL $({listens})")


def _cut(seconds: float) -> Callable[[Site, str], None]:
    """The worker's cable is out: it knows, the gateway host does not."""

    def cut(site: Site, name: str) -> None:
        site.contenders[name].cut_link()
        time.sleep(seconds)
        site.contenders[name].restore_link()

    return cut


def _silence(seconds: float) -> Callable[[Site, str], None]:
    """Packets vanish on the way, and neither side knows."""

    def silence(site: Site, name: str) -> None:
        port = site.contenders[name].port()
        subprocess.run(["bridge", "link", "set", "dev", port, "state", "0"], check=True)
        time.sleep(seconds)
        subprocess.run(["bridge", "link", "set", "dev", port, "state", "3"], check=True)

    return silence


def _source_port_lost(site: Site, name: str) -> None:
    """As with a NAT that forgets a connection: its packets go nowhere, those of a new one do."""
    host = site.contenders[name]
    leader = host.leader()
    assert leader
    inside = ["nsenter", f"--target={leader.pid}", "--net", "--", "nft"]
    shown = host.exec(["ss", "-Htn", "dst", f"{site.lab.gateway.address}:22"]).stdout
    ports = ",".join(line.split()[3].rpartition(":")[2] for line in shown.splitlines())
    rules = (
        "table inet lost { chain out { type filter hook output priority 0; "
        f"tcp sport {{ {ports} }} tcp dport 22 drop; }}; }}"
    )
    subprocess.run([*inside, "-f", "-"], input=rules, text=True, check=True)


def _worker_reboots(site: Site, name: str) -> None:
    site.contenders[name].reboot()


FAULTS: dict[str, Callable[[Site, str], None]] = {
    "client killed": _client_killed,
    "session killed": _session_killed,
    "cut 10 s": _cut(10),
    "cut 40 s": _cut(40),
    "silence 10 s": _silence(10),
    "silence 40 s": _silence(40),
    "source port lost": _source_port_lost,
    "worker reboots": _worker_reboots,
}


def _figures(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))]
    return {
        "p50_s": round(statistics.median(ordered), 2),
        "p95_s": round(p95, 2),
        "max_s": round(ordered[-1], 2),
        "n": len(ordered),
    }


def table(figures: dict[str, Any]) -> list[str]:
    """Markdown: a row a fault, p50 and p95 of each, and whether ours is within its aim."""
    names = (OURS, *PEERS)
    lines = ["| fault | n | " + " | ".join(f"{name}, p50 / p95 s" for name in names) + " | aim |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for fault, by in figures.items():
        cells = [f"{by[name]['p50_s']:.2f} / {by[name]['p95_s']:.2f}" for name in names]
        met = "met" if by[OURS]["p95_s"] <= AIMS[fault] else "missed"
        aim = f"≤ {AIMS[fault]:g}: {met}"
        lines.append(f"| {fault} | {by[OURS]['n']} | {' | '.join(cells)} | {aim} |")
    return lines


def _run(host: Host, script: str) -> None:
    done = host.exec(["sh", "-euc", script])
    if done.returncode:
        raise SystemExit(f"{host.name}: {script}: {done.stderr}")


if __name__ == "__main__":
    main()
