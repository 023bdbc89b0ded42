"""Measures what goes through a tunnel, beside plain ssh on the same link.

    .venv/bin/python -m benchmarks.throughput [--turns 5] [--mib 1024]

A worker of a lab reads so much from its gateway host through the tunnel, through a forward of a
plain ssh, and as the output of a command by plain ssh, in turns. Then 64 clients ask the gateway
for its health once a second each, with and without such a stream beside them. It needs root; the
figures of a run of full length go to results/throughput.json.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.bench import B9PROV, say
from benchmarks.measure import command
from provisioner.cli.lab import boot
from provisioner.lab import Host, Lab, lab_down

LAB = "throughput"
RESULTS = Path(__file__).parent / "results" / "throughput.json"
PROGRAM = (Path(__file__).parent / "programs" / "streaming.py").read_text()
FULL = (5, 1024)  # turns, MiB
CLIENTS = 64
QUIET_SECONDS = 15
AIM = 0.95
ZEROS, FORWARDED, PLAIN, API = 31993, 1993, 2993, 1994  # ports
KEY = "/opt/bench_key"
PATIENCE = 600.0  # seconds that anything may take


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.throughput", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--turns", type=int, default=FULL[0])
    parser.add_argument("--mib", type=int, default=FULL[1])
    options = parser.parse_args()
    try:
        with _site(options.mib) as (lab, worker):
            figures = _rates(lab, worker, options.turns, options.mib) | _asked(worker)
    finally:
        lab_down(LAB, progress=say)
    print(json.dumps(figures, indent=1))
    if (options.turns, options.mib) == FULL:
        RESULTS.write_text(json.dumps(figures, indent=1) + "\n")


@contextmanager
def _site(mib: int) -> Iterator[tuple[Lab, Host]]:
    """A worker with a forward to a server of zeros on the gateway host, and a plain ssh's."""
    lab = boot(LAB, 1, real=False)
    (worker,) = lab.worker_hosts
    inventory = lab.directory / "forwards.yaml"
    forwards = f"gateway:\n  forwards: ['{FORWARDED}:localhost:{ZEROS}']\n"
    inventory.write_text(lab.inventory_path.read_text().replace("gateway:\n", forwards, 1))
    with TemporaryDirectory(prefix="b9-") as room, ThreadPoolExecutor() as pool:
        command([str(B9PROV), "up", str(inventory)], Path(room) / "up.log")
        worker.path(KEY).write_bytes(lab.identity_file.read_bytes())
        worker.path(KEY).chmod(0o600)
        served = ["timeout", str(int(PATIENCE)), "python3", "-", "serve", str(ZEROS)]
        pool.submit(lab.gateway.exec, [*served, str(mib << 20)], PROGRAM, timeout=PATIENCE)
        forward = [*_ssh(lab), "-N", "-L", f"{PLAIN}:localhost:{ZEROS}"]
        pool.submit(worker.exec, ["timeout", str(int(PATIENCE)), *forward], timeout=PATIENCE)
        try:
            _run(worker, "until ss -Hltn sport :2993 | grep -q .; do sleep 0.1; done")
            yield lab, worker
        finally:
            worker.exec(["pkill", "-f", f"{PLAIN}:localhost"])
            lab.gateway.exec(["pkill", "-f", f"serve {ZEROS}"])


def _rates(lab: Lab, worker: Host, turns: int, mib: int) -> dict[str, object]:
    by_command = " ".join([*_ssh(lab), f"head -c {mib}M /dev/zero"])
    ways = {
        "tunnel": lambda: _program(worker, "read", FORWARDED),
        "plain ssh -L": lambda: _program(worker, "read", PLAIN),
        "plain ssh": lambda: _run(worker, f"TIMEFORMAT=%R; time {by_command} >/dev/null"),
    }
    rates: dict[str, list[float]] = {way: [] for way in ways}
    for turn in range(turns):
        for way, take in ways.items():
            rates[way].append(mib / float(take()))
        shown = ", ".join(f"{way} {each[-1]:.0f}" for way, each in rates.items())
        say(f"{turn + 1}/{turns}: {shown} MiB/s")
    medians = {way: statistics.median(each) for way, each in rates.items()}
    return {
        "mib_per_s": {
            way: [round(low_mid_high) for low_mid_high in (min(each), medians[way], max(each))]
            for way, each in rates.items()
        },
        "tunnel_vs_ssh_forward": round(medians["tunnel"] / medians["plain ssh -L"], 3),
        "tunnel_vs_ssh": round(medians["tunnel"] / medians["plain ssh"], 3),
        "aim": AIM,
    }


def _asked(worker: Host) -> dict[str, object]:
    """Latencies of the 64, alone and beside a stream, and what the stream then takes."""
    alone = json.loads(_program(worker, "ask", API, CLIENTS, QUIET_SECONDS))
    with ThreadPoolExecutor() as pool:
        streams = pool.submit(lambda: float(_program(worker, "read", FORWARDED)))
        beside = json.loads(_program(worker, "ask", API, CLIENTS, QUIET_SECONDS))
        seconds = streams.result()
    return {
        "keepalives_ms": {"alone": _quantiles(alone), "beside a stream": _quantiles(beside)},
        "stream_beside_keepalives_s": round(seconds, 2),
    }


def _quantiles(latencies: list[float]) -> dict[str, float]:
    places = {"p50": 0.5, "p95": 0.95, "max": 1.0}
    last = len(latencies) - 1
    found = {name: round(latencies[round(at * last)] * 1000, 1) for name, at in places.items()}
    return {**found, "n": len(latencies)}


def _ssh(lab: Lab) -> list[str]:
    options = ("StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    words = [word for option in options for word in ("-o", option)]
    return ["ssh", "-T", "-i", KEY, *words, f"admin@{lab.gateway.address}"]


def _program(host: Host, *words: object) -> str:
    done = host.exec(["python3", "-", *map(str, words)], PROGRAM, timeout=PATIENCE)
    if done.returncode:
        raise SystemExit(f"{host.name}: {words}: {done.stderr}")
    return done.stdout


def _run(host: Host, script: str) -> str:
    done = host.exec(["bash", "-c", script], timeout=PATIENCE)
    if done.returncode:
        raise SystemExit(f"{host.name}: {script}: {done.stderr}")
    return done.stdout or done.stderr


if __name__ == "__main__":
    main()
