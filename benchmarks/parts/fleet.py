"""Up to 2,000 hosts from one controller: what each costs it, and that nothing is left.

One lab host stands for all: it has 200 addresses, at each of which its sshd has ten ports. Each
connection is a process of its own, and so is each runner. Nothing is run as root, since root's
runs on one host wait for each other.
"""

from __future__ import annotations

import itertools
import json
import statistics
import sys
from pathlib import Path
from typing import Any

import yaml

from benchmarks import ratios
from benchmarks.bench import Bench, renew, say
from benchmarks.measure import command
from benchmarks.places import Place, Places
from benchmarks.programs import probe
from provisioner.lab import Host, Lab

COUNTS, FEW = (0, 50, 100, 200), (0, 20, 40)
LARGE, NOT_LARGE = 2000, 100
TASKS = 24
ADDRESSES, FIRST_ADDRESS = 200, 40
PORTS = (22, *range(2201, 2210))
_SSHD = "MaxStartups 1000:30:2000\nAddressFamily inet\n" + "".join(
    f"Port {port}\n" for port in PORTS
)


def measure(bench: Bench) -> dict[str, Any]:
    """CPU seconds and MiB of a run on so many hosts, each time in a process of its own."""
    counts = FEW if bench.quick else COUNTS
    lab = bench.lab(1)
    host = lab.worker_hosts[0]
    renew(lab, [host])
    folder = bench.room("fleet")
    large = NOT_LARGE if bench.quick else LARGE
    places = _many(lab, host, large, folder)
    playbook = folder / "playbook.yaml"
    playbook.write_text(yaml.safe_dump(_playbook(), sort_keys=False))
    _run(playbook, places.inventory, 1, folder)  # does all that there is to do
    rows = []
    for turn in range(bench.runs):
        for count in counts:
            row = {"hosts": count, **_run(playbook, places.inventory, count, folder)}
            rows.append(row)
            say(f"{turn + 1}/{bench.runs} {count} hosts: {row['cpu']:.2f} CPU s")
    whole = {"hosts": large, **_run(playbook, places.inventory, large, folder)}
    say(f"{large} hosts: {whole['cpu']:.2f} CPU s, {whole['seconds']:.0f} s")
    return {"tasks": TASKS, "runs": bench.runs, "rows": rows, "large": whole}


def _many(lab: Lab, host: Host, count: int, folder: Path) -> Places:
    """So many pairs of an address and a port of the host, as so many hosts."""
    prefix = host.address.rpartition(".")[0]
    addresses = [f"{prefix}.{FIRST_ADDRESS + number}" for number in range(ADDRESSES)]
    host.path("/etc/ssh/sshd_config.d/20-many.conf").write_text(_SSHD)
    batch = "".join(f"address add {address}/24 dev host0\n" for address in addresses)
    for argv, text in ((["ip", "-batch", "-"], batch), (["systemctl", "restart", "ssh"], "")):
        done = host.exec(argv, text)
        if done.returncode:
            raise SystemExit(f"{' '.join(argv)}: {done.stderr}")
    pairs = itertools.islice(itertools.product(PORTS, addresses), count)
    named = tuple(
        Place(host, address, port, f"h{number:04}") for number, (port, address) in enumerate(pairs)
    )
    return Places(named, lab.identity_file, folder)


def _playbook() -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = [{"file": {"path": "/home/admin/fleet", "state": "directory"}}]
    while len(tasks) < TASKS:
        number = len(tasks)
        content = {"dest": f"/home/admin/fleet/{number}", "content": "{{ inventory_hostname[0] }}"}
        work = {"copy": content} if number % 2 else {"command": "true", "changed_when": False}
        tasks.append({"name": f"task {number}", **work})
    return [{"name": "A fleet", "hosts": "all", "tasks": tasks}]


def _run(playbook: Path, inventory: Path, count: int, folder: Path) -> dict[str, Any]:
    """What the run cost and what it left in its process; with no hosts, all that comes before."""
    result, chosen = folder / "result", folder / f"{count}.yaml"
    settings = yaml.safe_load(inventory.read_text())
    settings["hosts"] = dict(list(settings["hosts"].items())[: count or 1])
    chosen.write_text(yaml.safe_dump(settings, sort_keys=False))
    argv = [sys.executable, probe.__file__, str(result), "play" if count else "load"]
    command([*argv, str(playbook), str(chosen)], folder / "probe.log")
    figures = dict(json.loads(result.read_text()))
    if figures.pop("code"):
        raise SystemExit(f"the run on {count} hosts failed: {(folder / 'probe.log').read_text()}")
    return figures


def per_host(part: dict[str, Any], key: str) -> float:
    """How much more of `key` each host takes: the slope of the line that fits best."""
    rows = part["rows"]
    hosts, taken = [row["hosts"] for row in rows], [row[key] for row in rows]
    return float(statistics.linear_regression(hosts, taken).slope)


def left(part: dict[str, Any], key: str) -> int:
    """The most `threads` or `files` that any run has left."""
    return int(max(row[key] for row in part["rows"]))


def median_at(part: dict[str, Any], count: int, key: str) -> float:
    """The median of the runs on so many hosts."""
    return statistics.median(row[key] for row in part["rows"] if row["hosts"] == count)


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    lines = [
        "",
        ratios.row("controller, by hosts", "CPU s", "RSS MiB", "threads", "files left"),
    ]
    for count in sorted({row["hosts"] for row in part["rows"]}):
        cpu, mib = (median_at(part, count, key) for key in ("cpu", "mib"))
        rows = [row for row in part["rows"] if row["hosts"] == count]
        more = (str(max(row[key] for row in rows)) for key in ("threads", "files"))
        lines.append(ratios.row(f"{count}", f"{cpu:.2f}", f"{mib:.0f}", *more))
    large = part["large"]
    more = (str(large[key]) for key in ("threads", "files"))
    lines.append(
        ratios.row(f"{large['hosts']}", f"{large['cpu']:.2f}", f"{large['mib']:.0f}", *more)
    )
    ms, mib = per_host(part, "cpu") * 1000, per_host(part, "mib")
    return [*lines, ratios.row("each host more", f"{ms:.1f} ms", f"{mib:.2f} MiB")]
