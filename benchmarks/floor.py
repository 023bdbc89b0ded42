"""The floor: the prepared scripts over plain ssh, one connection per host, hosts in parallel."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.measure import Contender, command, timed
from benchmarks.places import Place, Places
from benchmarks.prepared import Scripts, prepare, with_known
from benchmarks.programs import fabric_floor
from benchmarks.recorder import record
from provisioner.lab import Lab
from provisioner.lab.rootfs import LOGIN

GATEWAY = "gateway"
SSH, FABRIC = "floor, ssh", "floor, Fabric"


def scripts_of(playbook: Path, inventory: Path, lab: Lab) -> Scripts:
    """The scripts that do what the playbook does, from a run of it on fresh hosts."""
    tape = record(playbook, inventory)
    return prepare(tape, lambda host, path: lab.host(host).exec(["cat", path]).stdout)


def over_ssh(scripts: Scripts, places: Places, name: str = SSH) -> Contender:
    """Each script by `ssh HOST sudo python3 -`."""
    floor = Floor(scripts, places)
    return Contender(name, lambda: timed(floor.run), floor.close)


def over_fabric(scripts: Scripts, places: Places) -> Contender:
    """Each script over one channel of a Fabric connection, from one process for all hosts."""
    jobs = []
    for place in places.places:
        script = places.folder / f"{place.host.name}.py"
        script.write_text(with_known(scripts.workers[place.host.name], {}))
        jobs.append(
            {
                "address": place.address,
                "port": place.port,
                "user": LOGIN,
                "identity": str(places.identity),
                "known_hosts": str(places.known_hosts),
                "script": str(script),
            }
        )
    job = places.folder / "fabric.jobs"
    job.write_text(json.dumps(jobs))
    argv = [sys.executable, "-I", fabric_floor.__file__, str(job)]
    return Contender(FABRIC, lambda: command(argv, places.folder / "fabric.log"))


@dataclass(frozen=True)
class Floor:
    """Runs `scripts` on the hosts that they are for, as far as these are in `places`."""

    scripts: Scripts
    places: Places

    def run(self) -> None:
        """The gateway host's script, then all workers' at once, then the proof."""
        known = self._gateway(self.scripts.gateway, {})
        names = [host.name for host in self.places.hosts if host.name != GATEWAY]
        with ThreadPoolExecutor(len(names)) as pool:
            told = pool.map(lambda name: self._worker(name, known), names)
            for each in list(told):
                known.update(each)
        # over the gateway host's connection, which is still open
        self._gateway(self.scripts.verify, known)

    def _gateway(self, script: str, known: dict[str, Any]) -> dict[str, Any]:
        if not script:
            return {}
        persist = ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
        persist += ["-o", f"ControlPath={self._socket}"]
        return self._ssh(self.places.of(GATEWAY), script, known, persist)

    def _worker(self, name: str, known: dict[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in known.items() if key.startswith(f"{name}_")}
        return self._ssh(self.places.of(name), self.scripts.workers[name], own, [])

    def _ssh(
        self, place: Place, script: str, known: dict[str, Any], more: list[str]
    ) -> dict[str, Any]:
        """Run the script as root and return what it knows at its end."""
        argv = ["ssh", *self.places.ssh_options, *more, "-p", str(place.port)]
        argv += [f"{LOGIN}@{place.address}", fabric_floor.COMMAND]
        done = subprocess.run(argv, input=with_known(script, known), text=True, capture_output=True)
        if done.returncode:
            name = place.host.name
            raise SystemExit(f"the prepared script failed on {name}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    @property
    def _socket(self) -> Path:
        return self.places.folder / "gateway.sock"

    def close(self) -> None:
        """End the connection to the gateway host."""
        if self._socket.exists():
            argv = ["ssh", "-o", f"ControlPath={self._socket}", "-O", "exit", "gateway"]
            subprocess.run(argv, capture_output=True)
