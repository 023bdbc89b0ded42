"""What every part of the benchmark is given: its settings, and hosts of a lab of its own."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Contender, command
from provisioner.cli.lab import boot
from provisioner.lab import Host, Lab, lab_down

LAB = "benchmark"
B9PROV = Path(sys.executable).with_name("b9prov")


@dataclass(frozen=True)
class Bench:
    """`runs` of each; `quick` measures less of everything; `folder` is for temporary files."""

    runs: int
    quick: bool
    peers: bool
    folder: Path

    def lab(self, workers: int) -> Lab:
        """The lab, with at least so many workers."""
        return boot(LAB, workers, real=False)

    def room(self, name: str) -> Path:
        """An empty folder."""
        folder = self.folder / name
        folder.mkdir(parents=True)
        return folder


def say(line: str) -> None:
    """Tell how far we are."""
    print(line, file=sys.stderr, flush=True)


def take_down() -> None:
    """Leave nothing of the lab."""
    lab_down(LAB, progress=say)


def renew(lab: Lab, hosts: Sequence[Host]) -> None:
    """Make the hosts new ones, done with booting."""

    def one(host: Host) -> None:
        lab.reset(host)
        host.exec(["systemctl", "is-system-running", "--wait"])

    with ThreadPoolExecutor(len(hosts)) as pool:
        list(pool.map(one, hosts))


def b9prov(name: str, folder: Path, *words: str) -> Contender:
    """One of our commands, as a user types it."""
    return Contender(name, lambda: command([str(B9PROV), *words], folder / "b9prov.log"))
