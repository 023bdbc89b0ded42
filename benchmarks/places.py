"""Where contenders find the hosts: their own addresses, or a relay that makes them far away."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks.programs import relay
from provisioner.lab import Host, Lab
from provisioner.lab.rootfs import LOGIN

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """A host, the address and port at which it is reached, and its name where that is another."""

    host: Host
    address: str
    port: int
    alias: str = ""

    @property
    def name(self) -> str:
        """What the contenders call it."""
        return self.alias or self.host.name

    @property
    def known(self) -> str:
        """The host's line in known_hosts."""
        name = self.address if self.port == 22 else f"[{self.address}]:{self.port}"
        return f"{name} {self.host.host_key}\n"


@dataclass(frozen=True)
class Places:
    """Hosts that a contender works on. `folder` is for the files that it wants to have."""

    places: tuple[Place, ...]
    identity: Path
    folder: Path

    def of(self, name: str) -> Place:
        """The place of the host of that name."""
        return next(place for place in self.places if place.host.name == name)

    @property
    def hosts(self) -> list[Host]:
        """The hosts themselves."""
        return [place.host for place in self.places]

    @cached_property
    def known_hosts(self) -> Path:
        """A file with the keys of all hosts."""
        path = self.folder / "known_hosts"
        path.write_text("".join(place.known for place in self.places))
        return path

    @cached_property
    def inventory(self) -> Path:
        """The inventory for b9prov."""
        path = self.folder / "inventory.yaml"
        lines = ["defaults:", f"  user: {LOGIN}", f"  identity_file: {self.identity}", "hosts:"]
        for place in self.places:
            lines += [f"  {place.name}:", f"    address: {place.address}"]
            lines += [f"    port: {place.port}", f"    host_key: {place.host.host_key}"]
        path.write_text("\n".join(lines) + "\n")
        return path

    @cached_property
    def ssh_options(self) -> list[str]:
        """Options of ssh and scp, nobody's own settings."""
        settings = {
            "IdentityFile": self.identity,
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": self.known_hosts,
            "GlobalKnownHostsFile": "none",
            "StrictHostKeyChecking": "yes",
            "BatchMode": "yes",
            "LogLevel": "ERROR",
        }
        options = ["-F", "none"]
        for name, value in settings.items():
            options += ["-o", f"{name}={value}"]
        return options


def near(lab: Lab, hosts: Sequence[Host], folder: Path) -> Places:
    """The hosts at their own addresses."""
    folder.mkdir(parents=True, exist_ok=True)
    places = tuple(Place(host, host.address, 22) for host in hosts)
    return Places(places, lab.identity_file, folder)


@contextmanager
def reached(lab: Lab, hosts: Sequence[Host], rtt: float, folder: Path) -> Iterator[Places]:
    """The hosts at a distance of `rtt` seconds there and back; each then has its own relay."""
    if not rtt:
        yield near(lab, hosts, folder)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as relays:
        places = []
        for host in hosts:
            argv = [sys.executable, "-I", relay.__file__, "--delay", str(rtt / 2)]
            argv += ["--listen", f"{LOOPBACK}:0", "--to", f"{host.address}:22"]
            port = relays.enter_context(listening(argv))
            places.append(Place(host, LOOPBACK, int(port)))
        yield Places(tuple(places), lab.identity_file, folder)


@contextmanager
def listening(argv: list[str], log: Path | None = None) -> Iterator[str]:
    """A program that says so once it listens, as is yielded; what more it says goes to `log`.

    It is ended afterwards.
    """
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout
            first = process.stdout.readline()
            if not first:
                raise SystemExit(f"{argv[2]} does not start")
            yield first.strip()
        finally:
            process.terminate()
            if log and process.stdout:
                log.write_text(process.stdout.read())
