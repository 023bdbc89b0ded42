"""A stand-in of a cloud at work, for tests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from provisioner.clouds import Cloud
from provisioner.lab.standins.clouds.cloud_stand_in import CloudStandIn, Machine

LOGIN_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHenIrABVT6JxEiDpMRGE1MEzSwNXywjAjt44/aPnMjc"


@dataclass
class Site:
    """A stand-in at work, and a client of it."""

    api: CloudStandIn
    base: str
    cloud: Cloud
    settings: dict[str, Any]

    def machine(self, name: str, region: str = "us-east-1", **more: Any) -> Machine:
        """A machine that runs there."""
        kind = "gpu_1x_a10" if self.cloud.provider == "lambda" else "a100-80gb.1x"
        made = Machine(name, kind, region, LOGIN_KEY, "", **more)
        self.api.machines[made.id] = made
        self.api.power.on(made)
        return made
