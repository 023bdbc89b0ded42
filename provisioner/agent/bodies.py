"""The two requests' bodies, with the gateway's names and types."""

from __future__ import annotations

from typing import Any

from provisioner.agent import VERSION
from provisioner.agent.devices.nvidia import Nvidia
from provisioner.agent.inference import backend_of
from provisioner.agent.machine import Machine, detect
from provisioner.agent.metrics import Metrics, inference
from provisioner.agent.settings import Settings


class Bodies:
    """Makes request bodies from the settings and from what the machine shows at the moment.

    `last_metrics` are those of the last keepalive.
    """

    def __init__(self, settings: Settings, gpus: Nvidia, metrics: Metrics) -> None:
        self._settings = settings
        self._gpus = gpus
        self._metrics = metrics
        self._backend = backend_of(settings)
        self.last_metrics: dict[str, Any] = {}
        self.machine = self._detect()

    def _detect(self) -> Machine:
        # At boot the network or the driver may come up after this agent did.
        count = 0 if self._settings.gpu_count else self._gpus.count()
        return detect(self._settings, count)

    def registration(self) -> dict[str, Any]:
        """cpu, memory and gpu_count are text here; `token` is the k3s token, not the machine's."""
        self.machine = machine = self._detect()
        return {
            "token": self._settings.k3s_token,
            "machine_id": self._settings.machine_id,
            "hostname": machine.hostname,
            "provider_name": self._settings.provider,
            "pool_name": self._settings.pool,
            "cpu": machine.cpu,
            "memory": machine.memory,
            "gpu_count": machine.gpu_count,
            "private_ip": machine.private_ip,
        }

    def keepalive(self) -> dict[str, Any]:
        """`metrics` is always there: without it the gateway fails and yet marks it ready."""
        self.last_metrics = self._metrics.sample(self.machine)
        body = {
            "machine_id": self._settings.machine_id,
            "provider_name": self._settings.provider,
            "pool_name": self._settings.pool,
            "agent_version": VERSION,
            "metrics": self.last_metrics,
        }
        block = inference(self._backend)
        return {**body, "inference": block} if block else body
