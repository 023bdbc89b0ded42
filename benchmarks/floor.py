"""The floor: the prepared scripts over plain ssh, one connection per host, hosts in parallel."""

from __future__ import annotations

import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prepared import Scripts, with_known

from provisioner.lab import Host, Lab
from provisioner.lab.rootfs import LOGIN


@dataclass(frozen=True)
class Floor:
    """Runs `scripts` on the hosts of `lab`; `folder` is for its known_hosts and its socket."""

    lab: Lab
    scripts: Scripts
    folder: Path

    def run(self) -> None:
        """The gateway host's script, then all workers' at once, then the proof."""
        known = self._ssh(self.lab.gateway, self.scripts.gateway, {}, shared=True)
        names = list(self.scripts.workers)
        with ThreadPoolExecutor(len(names)) as pool:
            told = pool.map(lambda name: self._worker(name, known), names)
        for each in told:
            known.update(each)
        # over the gateway host's connection, which is still open
        self._ssh(self.lab.gateway, self.scripts.verify, known, shared=True)

    def _worker(self, name: str, known: dict[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in known.items() if key.startswith(f"{name}_")}
        return self._ssh(self.lab.host(name), self.scripts.workers[name], own)

    def _ssh(
        self, host: Host, script: str, known: dict[str, Any], shared: bool = False
    ) -> dict[str, Any]:
        """Run the script as root and return what it knows at its end."""
        if not script:
            return {}
        argv = ["ssh", *self._options(shared), f"{LOGIN}@{host.address}", "sudo python3 -I -"]
        done = subprocess.run(argv, input=with_known(script, known), text=True, capture_output=True)
        if done.returncode:
            raise SystemExit(f"the prepared script failed on {host.name}: {done.stderr[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def _options(self, shared: bool) -> list[str]:
        options = ssh_options(self.lab, self.folder)
        if shared:
            options += ["-o", "ControlMaster=auto", "-o", "ControlPersist=60"]
            options += ["-o", f"ControlPath={self._socket}"]
        return options

    @property
    def _socket(self) -> Path:
        return self.folder / "gateway.sock"

    def close(self) -> None:
        """End the connection to the gateway host."""
        if self._socket.exists():
            argv = ["ssh", "-o", f"ControlPath={self._socket}", "-O", "exit", "gateway"]
            subprocess.run(argv, capture_output=True)


def ssh_options(lab: Lab, folder: Path) -> list[str]:
    """Options of ssh for the hosts of the lab, whose keys are known."""
    hosts = folder / "known_hosts"
    if not hosts.exists():
        hosts.write_text("".join(f"{host.address} {host.host_key}\n" for host in lab.hosts))
    settings = {
        "IdentityFile": lab.identity_file,
        "IdentitiesOnly": "yes",
        "UserKnownHostsFile": hosts,
        "GlobalKnownHostsFile": "none",
        "StrictHostKeyChecking": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
    }
    options = ["-F", "none"]
    for name, value in settings.items():
        options += ["-o", f"{name}={value}"]
    return options
