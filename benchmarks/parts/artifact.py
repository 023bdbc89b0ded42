"""A large file by get_artifact from a mirror on this machine, against scp of the same file."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from benchmarks import ratios
from benchmarks.bench import B9PROV, Bench, renew, say
from benchmarks.measure import Sample, command, timed
from benchmarks.places import Places, listening, near
from benchmarks.programs import cut_mirror
from provisioner.lab import Host, Lab
from provisioner.lab.rootfs import LOGIN

MIB, QUICK_MIB, SMALL_MIB = 1024, 256, 16
PORT = 8098
DEST = "/var/tmp/artifact"
WHOLE, CUT, SCP, SYNCED = "get_artifact", "get_artifact, cut", "scp", "scp and sync"
_BLOCK = 1 << 20
_SAMPLE_EVERY = 0.02  # seconds
_STUB = b"B9BOOT "  # in the command line of every runner


def measure(bench: Bench) -> dict[str, Any]:
    """Seconds of each way; MiB of runner and controller, with this file and with a small one."""
    lab = bench.lab(1)
    host = lab.worker_hosts[0]
    renew(lab, [host])
    folder = bench.room("artifact")
    mib = QUICK_MIB if bench.quick else MIB
    places = near(lab, [host], folder)
    large, small = _Download(lab, places, folder, mib), _Download(lab, places, folder, SMALL_MIB)
    ways: dict[str, Callable[[], Sample]] = {
        SCP: lambda: _scp(large.file, places, sync=False),
        SYNCED: lambda: _scp(large.file, places, sync=True),
        WHOLE: large.run,
        CUT: lambda: large.run(cut=True),
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    small.run()
    for turn in range(bench.runs):
        for name, run in ways.items():
            host.exec(["rm", "-f", DEST])
            host.exec(["sync"])
            taken = run().seconds
            seconds[name].append(round(taken, 3))
            say(f"{turn + 1}/{bench.runs} {mib} MiB, {name}: {mib / taken:.0f} MiB/s")
    memory = {
        "runner": [small.runner_mib, large.runner_mib],
        "controller": [small.controller_mib, large.controller_mib],
    }
    return {"mib": mib, "small_mib": SMALL_MIB, "seconds": seconds, "memory": memory}


class _Download:
    """A file of so many MiB that b9prov brings to the host; the most memory that this took."""

    def __init__(self, lab: Lab, places: Places, folder: Path, mib: int) -> None:
        self.lab, self.places, self.folder = lab, places, folder
        self.host = places.hosts[0]
        self.size = mib * _BLOCK
        self.file = folder / f"artifact-{mib}"
        sha256 = _write(self.file, mib)
        self.playbook = folder / f"artifact-{mib}.yaml"
        arguments = {"sources": [f"{self._url}/{self.file.name}"], "sha256": sha256, "dest": DEST}
        play = {"hosts": "all", "become": True, "tasks": [{"get_artifact": arguments}]}
        self.playbook.write_text(yaml.safe_dump([{"name": "An artifact", **play}]))
        self.runner_mib = self.controller_mib = 0.0

    @property
    def _url(self) -> str:
        return f"http://{self.lab.network.controller}:{PORT}"

    def run(self, cut: bool = False) -> Sample:
        """Download it; `cut`: the mirror breaks off in the middle of its first answer."""
        argv = [sys.executable, "-I", cut_mirror.__file__, "--directory", str(self.folder)]
        argv += ["--bind", self.lab.network.controller, "--port", str(PORT)]
        argv += ["--cut-after", str(self.size // 2)] if cut else []
        answers = self.folder / "answers"
        ours = [str(B9PROV), "play", str(self.playbook), "-i", str(self.places.inventory)]
        with listening(argv, answers), _peak(self.host) as peak:
            sample = command(ours, self.folder / "b9prov.log")
        self.runner_mib = round(max(self.runner_mib, peak[0]), 1)
        self.controller_mib = round(max(self.controller_mib, sample.mib or 0), 1)
        self._check([json.loads(line) for line in answers.read_text().splitlines()], cut)
        return sample

    def _check(self, answers: list[dict[str, int]], cut: bool) -> None:
        """Every byte came once: what was there was not loaded again."""
        wanted = [0, self.size // 2] if cut else [0]
        if [answer["start"] for answer in answers] != wanted:
            raise SystemExit(f"the mirror was not asked as it should be: {answers}")


def _write(path: Path, mib: int) -> str:
    """A file of so many MiB that does not compress; its SHA-256."""
    digest, block = hashlib.sha256(), os.urandom(_BLOCK)
    with path.open("wb") as file:
        for number in range(mib):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return digest.hexdigest()


def _scp(file: Path, places: Places, sync: bool) -> Sample:
    """`sync`: until the host has it on disk, as get_artifact leaves it."""
    place = places.places[0]
    copy = ["scp", "-q", *places.ssh_options, str(file), f"{LOGIN}@{place.address}:{DEST}"]

    def run() -> None:
        subprocess.run(copy, check=True)
        if sync:
            place.host.exec(["sync", DEST])

    return timed(run)


@contextmanager
def _peak(host: Host) -> Iterator[list[float]]:
    """The largest resident MiB of a runner on the host, known at the end."""
    leader = host.leader()
    assert leader
    namespace = os.readlink(f"/proc/{leader.pid}/ns/pid")
    peak, over = [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(_SAMPLE_EVERY):
            peak[0] = max([peak[0], *(_resident_most(pid) for pid in _runners(namespace))])

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _runners(namespace: str) -> Iterator[str]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command_line = (entry / "cmdline").read_bytes()
                ours = command_line.startswith(b"python3\0") and _STUB in command_line
                if ours and os.readlink(entry / "ns" / "pid") == namespace:
                    yield entry.name
            except OSError:
                continue  # it has just ended


def _resident_most(pid: str) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:")), 0.0)


def rate_ratio(part: dict[str, Any], name: str, to: str) -> float:
    """How fast one way is as a part of another one's rate, the median of pairs of one turn."""
    phases = {"": {key: {"seconds": seconds} for key, seconds in part["seconds"].items()}}
    found = ratios.ratio(phases, "", to, name)
    assert found is not None
    return found


def table(part: dict[str, Any]) -> list[str]:
    """What was measured."""
    lines = ["", ratios.row(f"{part['mib']} MiB onto a host, MiB/s", "min", "median", "max")]
    for name, seconds in part["seconds"].items():
        slowest, median, fastest = ratios.spread([part["mib"] / each for each in seconds])
        lines.append(ratios.row(name, f"{slowest:.0f}", f"{median:.0f}", f"{fastest:.0f}"))
    lines.append(
        ratios.row("peak RSS MiB, by file", f"{part['small_mib']} MiB", f"{part['mib']} MiB")
    )
    for name, (small, large) in part["memory"].items():
        lines.append(ratios.row(name, f"{small:.0f}", f"{large:.0f}"))
    return lines
