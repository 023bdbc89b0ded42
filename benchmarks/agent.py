"""Measures the agent: what it takes at rest, how fast it starts, what it sends.

    .venv/bin/python -m benchmarks.agent [--seconds 600] [--keepalives 10000]

The gateway is the reference gateway on loopback. The figures go to results/agent.json when it is a
run of full length.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.k3s_stand_in import serving
from benchmarks.programs import many_keepalives
from provisioner.agent.build import build_zipapp
from provisioner.lab.reference_gateway import Gateway, Pool, Settings

RESULTS = Path(__file__).parent / "results" / "agent.json"
ADMIN = "the-admin-token-of-the-benchmark"
FULL_SECONDS, FULL_KEEPALIVES = 600, 10_000
STARTS = 9
SETTLE = 5.0  # seconds after its registration
PYTHON = "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable
# what each figure is at most to be, and what it says
AIMS = {
    "rss_mb": (22.0, "resident memory at rest, MB"),
    "rss_growth_mb": (1.0, "its growth over that time, MB"),
    "cpu_pct": (0.1, "CPU at rest, % of one core"),
    "threads_more": (0.0, "threads more at the end than at the start"),
    "files_more": (0.0, "open files more at the end than at the start"),
    "start_ms": (300.0, "start, to the end of `--version`, ms"),
    "zipapp_mb": (6.0, "the zipapp, MB"),
    "keepalive_bytes": (2048.0, "a keepalive on the wire, bytes"),
    "many_growth_mb": (1.0, "growth over all keepalives but the first thousand, MB"),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(prog="benchmarks.agent", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=FULL_SECONDS, help="of rest")
    parser.add_argument("--keepalives", type=int, default=FULL_KEEPALIVES)
    options = parser.parse_args()
    gateway = Gateway(Settings(pools={"cpu": Pool("cpu")}, admin_token=ADMIN, register_delay=0))
    gateway.start()
    try:
        with tempfile.TemporaryDirectory(prefix="b9-") as room, serving(Path(room)) as k3s:
            config = _config(gateway.url, *k3s)
            figures = _measure(config, Path(room), options.seconds, options.keepalives)
    finally:
        gateway.stop()
    for name, (aim, text) in AIMS.items():
        missed = "" if figures[name] <= aim else "  MISSED"
        print(f"{text:60} ≤ {aim:<6g} {figures[name]:>8.2f}{missed}")
    if (options.seconds, options.keepalives) == (FULL_SECONDS, FULL_KEEPALIVES):
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")
        print(f"written: {os.path.relpath(RESULTS)}")


def _measure(
    settings: dict[str, Any], room: Path, seconds: float, keepalives: int
) -> dict[str, Any]:
    zipapp = room / "b9agent.pyz"
    build_zipapp(zipapp)
    config = room / "config.yaml"
    config.write_text(json.dumps(settings))
    config.chmod(0o600)
    environment = {"HOME": str(room), "PATH": os.environ["PATH"], "MALLOC_ARENA_MAX": "1"}
    environment["RUNTIME_DIRECTORY"] = str(room / "run")
    agent = subprocess.Popen(
        [PYTHON, "-I", str(zipapp), "--config", str(config)],
        env=environment,
        stderr=subprocess.DEVNULL,
    )
    try:
        rest = _at_rest(agent.pid, seconds)
    finally:
        agent.terminate()
        agent.wait(10)
    many = [sys.executable, "-I", many_keepalives.__file__, str(zipapp), str(config)]
    growth = json.loads(subprocess.check_output([*many, str(keepalives)]))
    return {
        **rest,
        **growth,
        "start_ms": round(statistics.median(_start_ms(zipapp) for _ in range(STARTS)), 1),
        "zipapp_mb": round(zipapp.stat().st_size / 1e6, 2),
        "seconds": seconds,
        "keepalives": keepalives,
    }


def _config(gateway: str, k3s_port: int, authority: str) -> dict[str, Any]:
    """Settings for a new machine."""
    url = f"{gateway}/api/v1/gateway/machines"
    headers = {"Authorization": f"Bearer {ADMIN}"}
    made = requests.post(url, json={"poolName": "cpu"}, headers=headers, timeout=10).json()
    machine, place = made["machine"], urlsplit(gateway)
    return {
        "gateway": {"host": place.hostname, "port": place.port},
        "machine": {
            "id": machine["id"],
            "token": machine["registrationToken"],
            "hostname": "10.199.0.7",
        },
        "pool": "cpu",
        "k3s": {"token": "the-token-of-the-k3s", "port": k3s_port, "ca": authority},
        "inference": {"port": 1},
        "control": {"port": _free_port()},
    }


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def _at_rest(pid: int, seconds: float) -> dict[str, Any]:
    """What the process takes while it does nothing but its keepalives."""
    time.sleep(SETTLE)
    before, started = _taken(pid), time.monotonic()
    most = before["rss_mb"]
    while (left := started + seconds - time.monotonic()) > 0:
        time.sleep(min(left, 5.0))
        most = max(most, _taken(pid)["rss_mb"])
    after = _taken(pid)
    took = time.monotonic() - started
    return {
        "rss_mb": round(most, 2),
        "rss_growth_mb": round(after["rss_mb"] - before["rss_mb"], 2),
        "cpu_pct": round(100 * (after["cpu"] - before["cpu"]) / took, 4),
        "threads_more": after["threads"] - before["threads"],
        "files_more": after["files"] - before["files"],
    }


def _taken(pid: int) -> dict[str, float]:
    process = Path(f"/proc/{pid}")
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    # its own, and of what it has started
    ticks = (process / "stat").read_text().rpartition(")")[2].split()[11:15]
    return {
        "rss_mb": int(status["VmRSS"].split()[0]) * 1024 / 1e6,
        "threads": int(status["Threads"]),
        "files": len(list((process / "fd").iterdir())),
        "cpu": sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK"),
    }


def _start_ms(zipapp: Path) -> float:
    started = time.monotonic()
    subprocess.run([PYTHON, "-I", str(zipapp), "--version"], check=True, capture_output=True)
    return (time.monotonic() - started) * 1000


if __name__ == "__main__":
    main()
