"""What of a host matters to k3s: its files, its processes, what its programs say.

Everything is found below `root` and on `search_path`, so that tests can show it another host.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from provisioner.remote import process, sockets

CONFIG = "/etc/rancher/k3s/config.yaml"
KUBECONFIG = "/etc/rancher/k3s/k3s.yaml"
WAITS = "/etc/rancher/k3s/b9prov-drained"
"""There while the node was drained for an upgrade and takes no pods yet."""

ROTATES = "/etc/rancher/k3s/b9prov-rotates"
"""There while the gateway's token is void and the new one is not made."""

UNITS = ("k3s.service", "k3s-agent.service")
USUAL = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"
DEADLINE = 15.0  # seconds that a program may take to answer

Release = tuple[int, int, int, int]
"""Major, minor and patch of Kubernetes, and k3s's own number: v1.33.4+k3s1 is (1, 33, 4, 1)."""


@dataclass(frozen=True)
class K3sHost:
    """A host to be looked at."""

    root: Path
    search_path: str

    def at(self, path: str) -> Path:
        """Where the host's `path` is."""
        return self.root / path.lstrip("/")

    def text(self, path: str) -> str:
        """What is in a file; nothing when it can't be read."""
        try:
            return self.at(path).read_text("utf-8", "replace").strip()
        except OSError:
            return ""

    def which(self, name: str) -> str | None:
        """Where a program is."""
        return shutil.which(name, path=self.search_path)

    def says(self, name: str, *words: str) -> process.Outcome:
        """What a program answers; it did not start when there is none."""
        program = self.which(name)
        if program is None:
            return process.Outcome(127, "", f"there is no {name}", 0.0, started=False)
        # what it calls itself is looked for in the same places
        return process.run([program, *words], timeout=DEADLINE, env={"PATH": self.search_path})

    def processes(self) -> Iterator[sockets.Owner]:
        """What runs, each with its unit."""
        proc = str(self.at("/proc"))
        for entry in sorted(os.listdir(proc)):
            if entry.isdigit():
                yield sockets.owner(int(entry), proc)

    def foreign_units(self) -> list[str]:
        """The units of a k3s that b9prov did not write."""
        paths = [
            f"{folder}/{unit}"
            for folder in ("/etc/systemd/system", "/usr/lib/systemd/system")
            for unit in UNITS
        ]
        ours = "# Written by b9prov"
        return [
            path for path in paths if self.at(path).exists() and ours not in self.text(path)[:500]
        ]

    def installed(self) -> str:
        """The version of the k3s that is installed, such as v1.33.4+k3s1; nothing when none is."""
        program = self.at("/usr/local/bin/k3s")
        if not program.exists():
            return ""
        done = process.run([str(program), "--version"], timeout=DEADLINE)
        match = re.match(r"k3s version (\S+)", done.stdout)
        return match[1] if match else ""

    def set_in_config(self, key: str) -> str:
        """A plain value of the k3s configuration that is there."""
        match = re.search(rf"^{key}:[ \t]*(.+)$", self.text(CONFIG), re.MULTILINE)
        return match[1].strip().strip("\"'") if match else ""

    def default_interface(self) -> str:
        """The interface of the IPv4 default route."""
        for line in self.text("/proc/net/route").splitlines()[1:]:
            words = line.split()
            if len(words) > 7 and words[1] == words[7] == "00000000":
                return words[0]
        return ""

    def has_ipv4(self) -> bool:
        """Whether IPv4 leads anywhere but to the host itself."""
        routes = self.text("/proc/net/route").splitlines()[1:]
        return any(line.split()[0] != "lo" for line in routes if line.split())

    def mtu(self, interface: str) -> int:
        """An interface's MTU in bytes; 0 when there is no such interface."""
        found = self.text(f"/sys/class/net/{interface}/mtu") if interface else ""
        return int(found) if found.isdigit() else 0


def release(version: str) -> Release | None:
    """A version as numbers that can be compared; None when it is none."""
    match = re.match(r"v?(\d+)\.(\d+)\.(\d+)[^+]*(?:\+.*?(\d*))?$", version)
    if match is None:
        return None
    major, minor, patch, own = match.groups()
    return int(major), int(minor), int(patch), int(own or 0)
