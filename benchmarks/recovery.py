"""Measures how soon a tunnel is back after a fault, beside autossh and a plain unit.

    .venv/bin/python -m benchmarks.recovery [--turns 2] [--each 10] [--fault NAME]...

The workers of a lab, `--each` of them with each contender's tunnel, meet the same faults in the
same minutes, one after the other. A fault's figure is the time from its end to an answer of the
worker's Kubernetes through the reverse forward, asked for on the gateway host. It needs root; the
figures of 20 faults and more go to results/recovery.json.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any, NamedTuple

from benchmarks.bench import B9PROV, say
from benchmarks.measure import command
from benchmarks.programs.answering import Answering
from provisioner.cli.lab import boot
from provisioner.lab import Host, Lab, lab_down

LAB = "recovery"
RESULTS = Path(__file__).parent / "results" / "recovery.json"
ENOUGH = 20  # faults that a published figure is of, at the least
REST = 22.0  # seconds that a tunnel works before it meets a fault, as one does that has lasted
AT_ONCE = 4  # workers whose answers are asked for in the same moment
PATIENCE = 60.0  # seconds that it has to come back, after which it is helped
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
_END_LISTENER = "kill -KILL $(ss -Hltnp src {address}:6443 | grep -o 'pid=[0-9]*' | cut -d= -f2)"
OURS = "b9prov"
PEERS = {"autossh": "/usr/bin/autossh -M 0", "plain unit": "/usr/bin/ssh"}


class Worker(NamedTuple):
    """A host, whose tunnel it has, and its address on the gateway host."""

    contender: str
    host: Host
    address: str


class Site(NamedTuple):
    """A lab whose workers have all contenders' tunnels."""

    lab: Lab
    workers: list[Worker]

    def back_after(
        self, worker: Worker, end: float, few: AbstractContextManager[object] | None = None
    ) -> float:
        """Seconds from `end`, a monotonic time, to the first answer; `few` as for `Answering`."""
        leader = self.lab.gateway.leader()
        assert leader
        return Answering(leader.pid, worker.address, few).first_after(end, PATIENCE) - end

    def heal(self) -> None:
        """Wait until all tunnels work; a session that stands in the way of one is ended."""
        few = BoundedSemaphore(AT_ONCE)
        with ThreadPoolExecutor(len(self.workers)) as pool:
            list(pool.map(lambda worker: self._heal(worker, few), self.workers))

    def _heal(self, worker: Worker, few: AbstractContextManager[object]) -> None:
        for _ in range(5):
            if self.back_after(worker, time.monotonic(), few) < PATIENCE:
                return
            _run(self.lab.gateway, f"{_END_LISTENER.format(address=worker.address)} || true")
        raise SystemExit(f"the tunnel of {worker.host.name} ({worker.contender}) stays down")


class Fault(NamedTuple):
    """What befalls each worker, `spacing` seconds after the one before, or where it is `shared` all
    of them at once; within how many seconds b9prov's own aim is to be back in 19 of 20."""

    inflict: Callable[[Site, Worker], None]
    aim: float
    shared: bool = False
    spacing: float = 0.5


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.recovery", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--each", type=int, default=10)
    parser.add_argument("--fault", action="append", choices=tuple(FAULTS))
    options = parser.parse_args()
    try:
        site = _site(options.each)
        for fault in options.fault or FAULTS:
            taken = _turns(site, fault, options.turns)
            figures = {contender: _figures(each) for contender, each in taken.items()}
            print("\n".join(table({fault: figures})), flush=True)
            if options.turns * options.each >= ENOUGH:
                _keep(fault, figures)
    finally:
        lab_down(LAB, progress=say)


def _keep(fault: str, figures: dict[str, Any]) -> None:
    """Into the results, beside those of the other faults."""
    kept = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    kept[fault] = figures
    ordered = {each: kept[each] for each in FAULTS if each in kept}
    RESULTS.write_text(json.dumps(ordered, indent=1) + "\n")


def _site(each: int) -> Site:
    """A lab that `b9prov up` made ready, most workers of which got another's tunnel after that."""
    lab = boot(LAB, each * (1 + len(PEERS)), real=False)
    with tempfile.TemporaryDirectory(prefix="b9-") as room:
        say("up")
        command([str(B9PROV), "up", str(lab.inventory_path)], Path(room) / "up.log")
        subprocess.run(["apt-get", "download", "-q", "autossh"], cwd=room, check=True)
        package = next(Path(room).glob("autossh_*.deb")).read_bytes()
    slots = json.loads(lab.gateway.path("/var/lib/b9prov/slots.json").read_text())["slots"]
    names = (OURS, *PEERS)
    workers = [
        Worker(names[place % len(names)], host, slots[host.name]["address"])
        for place, host in enumerate(lab.worker_hosts)
    ]
    for worker in workers:
        if worker.contender != OURS:
            _give_peer(worker, lab, package)
    return Site(lab, workers)


def _give_peer(worker: Worker, lab: Lab, autossh: bytes) -> None:
    host = worker.host
    host.path("/opt/autossh.deb").write_bytes(autossh)
    _run(host, "dpkg -i /opt/autossh.deb")
    _run(host, "systemctl disable --now b9-tunnel; rm /etc/systemd/system/b9-tunnel.service")
    ssh = _SSH.format(address=worker.address, gateway=lab.gateway.address)
    host.path("/etc/systemd/system/peer-tunnel.service").write_text(
        _UNIT.format(program=PEERS[worker.contender], ssh=ssh)
    )
    _run(host, "systemctl daemon-reload; systemctl enable --now peer-tunnel")


def _turns(site: Site, fault: str, turns: int) -> dict[str, list[float]]:
    taken: dict[str, list[float]] = {name: [] for name in (OURS, *PEERS)}
    for turn in range(turns):
        site.heal()
        time.sleep(REST)
        seconds = _meet(site, FAULTS[fault])
        for worker, each in zip(site.workers, seconds, strict=True):
            taken[worker.contender].append(each)
        shown = (f"{name} {min(all_):.2f} to {max(all_):.2f}" for name, all_ in taken.items())
        say(f"{fault}, {turn + 1}/{turns}: {', '.join(shown)} s")
    return taken


def _meet(site: Site, fault: Fault) -> list[float]:
    """Seconds that each worker then takes."""
    if fault.shared:
        fault.inflict(site, site.workers[0])
    end = time.monotonic()
    few = BoundedSemaphore(AT_ONCE)

    def one(place: int, worker: Worker) -> float:
        if fault.shared:
            return site.back_after(worker, end, few)
        time.sleep(fault.spacing * place)
        fault.inflict(site, worker)
        return site.back_after(worker, time.monotonic())

    with ThreadPoolExecutor(len(site.workers)) as pool:
        return list(pool.map(one, range(len(site.workers)), site.workers))


def _client_killed(site: Site, worker: Worker) -> None:
    _run(worker.host, "pkill -KILL -x ssh")


def _session_killed(site: Site, worker: Worker) -> None:
    _run(site.lab.gateway, _END_LISTENER.format(address=worker.address))


def _cut(seconds: float) -> Callable[[Site, Worker], None]:
    """The worker's cable is out: it knows, the gateway host does not."""

    def cut(site: Site, worker: Worker) -> None:
        worker.host.cut_link()
        time.sleep(seconds)
        worker.host.restore_link()

    return cut


def _silence(seconds: float) -> Callable[[Site, Worker], None]:
    """Packets vanish on the way, and neither side knows."""

    def silence(site: Site, worker: Worker) -> None:
        port = worker.host.port()
        subprocess.run(["bridge", "link", "set", "dev", port, "state", "0"], check=True)
        time.sleep(seconds)
        subprocess.run(["bridge", "link", "set", "dev", port, "state", "3"], check=True)

    return silence


def _source_port_lost(site: Site, worker: Worker) -> None:
    """As with a NAT that forgets a connection: its packets go nowhere, those of a new one do."""
    host = worker.host
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


def _address_changed(site: Site, worker: Worker) -> None:
    """As when a lease is not renewed: the old address is gone, and what was open with it."""
    network, last = worker.host.address.rsplit(".", 1)
    here, there = worker.host.address, f"{network}.{int(last) + 100}"
    if there in _run(worker.host, "ip -4 address show dev host0"):
        here, there = there, here
    _run(worker.host, f"ip address del {here}/24 dev host0; ip address add {there}/24 dev host0")


def _worker_reboots(site: Site, worker: Worker) -> None:
    worker.host.reboot()


def _sshd_restarts(site: Site, worker: Worker) -> None:
    _run(site.lab.gateway, "systemctl restart ssh")


def _sshd_and_sessions_end(site: Site, worker: Worker) -> None:
    """As with an upgrade that ends all sessions."""
    _run(site.lab.gateway, "systemctl stop ssh; pkill -KILL -u b9tunnel; systemctl start ssh")


def _gateway_reboots(site: Site, worker: Worker) -> None:
    """It ends when sshd answers again."""
    site.lab.gateway.reboot()


FAULTS: dict[str, Fault] = {
    "client killed": Fault(_client_killed, 0.5),
    "session killed": Fault(_session_killed, 0.5),
    "sshd restarts": Fault(_sshd_restarts, 10.0, shared=True),
    "sshd and all sessions end": Fault(_sshd_and_sessions_end, 10.0, shared=True),
    "cut 10 s": Fault(_cut(10), 3.0),
    "cut 2 min": Fault(_cut(120), 10.0),
    "cut 10 min": Fault(_cut(600), 10.0),
    "silence 10 s": Fault(_silence(10), 3.0),
    "silence 40 s": Fault(_silence(40), 3.0),
    "silence 2 min": Fault(_silence(120), 10.0),
    "silence 10 min": Fault(_silence(600), 10.0),
    "source port lost": Fault(_source_port_lost, 10.0),
    "address changed": Fault(_address_changed, 10.0),
    # one by one: they share this machine's kernel, which many that boot at once keep busy
    "worker reboots": Fault(_worker_reboots, 10.0, spacing=4.0),
    "gateway reboots": Fault(_gateway_reboots, 10.0, shared=True),
}


def _figures(taken: list[float]) -> dict[str, float]:
    ordered = sorted(taken)
    p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
    return {
        "p50_s": round(statistics.median(ordered), 2),
        "p95_s": round(p95, 2),
        "max_s": round(ordered[-1], 2),
        "n": len(ordered),
    }


def table(figures: dict[str, Any]) -> list[str]:
    """Markdown: a row a fault, p50, p95 and the longest of each, and whether ours is within its
    aim."""
    names = (OURS, *PEERS)
    heads = (f"{name}, p50 / p95 / longest" for name in names)
    lines = ["| fault | n | " + " | ".join(heads) + " | aim of p95 |"]
    lines.append("|---" * (len(names) + 3) + "|")
    for fault, by in figures.items():
        figures_of = ((by[name][each] for each in ("p50_s", "p95_s", "max_s")) for name in names)
        cells = [" / ".join(map(_shown, each)) for each in figures_of]
        aim = FAULTS[fault].aim
        met = "met" if by[OURS]["p95_s"] <= aim else "missed"
        lines.append(f"| {fault} | {by[OURS]['n']} | {' | '.join(cells)} | ≤ {aim:g}: {met} |")
    return lines


def _shown(seconds: float) -> str:
    return f"{seconds:.2f}" if seconds < PATIENCE else f"> {PATIENCE:g}"


def _run(host: Host, script: str) -> str:
    done = host.exec(["sh", "-euc", script])
    if done.returncode:
        raise SystemExit(f"{host.name}: {script}: {done.stderr}")
    return done.stdout


if __name__ == "__main__":
    main()
