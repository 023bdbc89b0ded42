"""The lab's bridge, and who has which address on it."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab.machine import LabError, command

LABS = 255
MAX_WORKERS = 200
_FIRST_WORKER = 11


@dataclass(frozen=True)
class Network:
    """The network of lab number `number`."""

    number: int

    @property
    def bridge(self) -> str:
        """The bridge's interface name."""
        return f"b9lab{self.number}"

    @property
    def controller(self) -> str:
        """The address of this machine on the bridge."""
        return self._address(1)

    @property
    def gateway(self) -> str:
        """The address of the gateway host."""
        return self._address(2)

    @property
    def reverse_pool(self) -> str:
        """The addresses on the gateway host that workers' reverse tunnels listen on."""
        return f"10.199.{self.number}.0/24"

    def worker(self, index: int) -> str:
        """The address of worker `index`, counted from 1."""
        if not 1 <= index <= MAX_WORKERS:
            raise LabError(f"a lab has at most {MAX_WORKERS} workers")
        return self._address(_FIRST_WORKER + index - 1)

    def is_up(self) -> bool:
        """Whether the bridge exists."""
        return Path(f"/sys/class/net/{self.bridge}").exists()

    def up(self) -> None:
        """Make the bridge and give it our address; nothing when that is so already."""
        if not self.is_up():
            command(["ip", "link", "add", self.bridge, "type", "bridge"])
        command(["ip", "address", "replace", f"{self.controller}/24", "dev", self.bridge])
        command(["ip", "link", "set", self.bridge, "up"])

    def down(self) -> None:
        """Delete the bridge."""
        if self.is_up():
            command(["ip", "link", "delete", self.bridge])

    def ports(self) -> dict[int, str]:
        """The bridge's ports: interface index to name."""
        links = json.loads(command(["ip", "-json", "link", "show", "master", self.bridge]) or "[]")
        return {link["ifindex"]: link["ifname"] for link in links if link}

    def _address(self, last: int) -> str:
        return f"10.198.{self.number}.{last}"


def free_number(taken: set[int]) -> int:
    """The first lab number that neither another lab nor an interface of this machine uses."""
    addresses = json.loads(command(["ip", "-json", "-4", "address", "show"]))
    here = {info["local"] for link in addresses for info in link["addr_info"]}
    for number in range(LABS):
        network = Network(number)
        if number not in taken and not network.is_up() and network.controller not in here:
            return number
    raise LabError(f"{LABS} labs are there already", "b9prov lab down NAME")


def wait_listening(address: str, port: int, *, seconds: float) -> bool:
    """Whether something takes connections there in time."""
    give_up = time.monotonic() + seconds
    while not _listens(address, port):
        if time.monotonic() > give_up:
            return False
        time.sleep(0.02)
    return True


def _listens(address: str, port: int) -> bool:
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
