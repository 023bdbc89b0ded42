"""The clouds that there are, by the names that inventories and options have for them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from provisioner.clouds.box import Cloud
from provisioner.clouds.crusoe import Crusoe
from provisioner.clouds.http import DEADLINE
from provisioner.clouds.lambda_cloud import LambdaCloud

PROVIDERS: dict[str, Callable[[Mapping[str, Any], float], Cloud]] = {
    "lambda": LambdaCloud,
    "crusoe": Crusoe,
}


def open_cloud(provider: str, settings: Mapping[str, Any], patience: float = DEADLINE) -> Cloud:
    """The account that a source's settings, the environment and the provider's own files name.

    Nothing is asked yet; what is, is tried again for `patience` seconds. Raises CloudError.
    """
    return PROVIDERS[provider](settings, patience)
