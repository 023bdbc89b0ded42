"""What the control API shows and does, as one thing that its routes are given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from provisioner.agent.hub import Hub
from provisioner.agent.inference.manager import Manager
from provisioner.agent.pods import Pods


class Desk(NamedTuple):
    """`status` tells what is known, the metrics with it, without asking anybody anew."""

    status: Callable[[], dict[str, Any]]
    inference: Manager
    hub: Hub
    pods: Pods
