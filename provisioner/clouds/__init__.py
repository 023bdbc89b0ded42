"""Clouds that rent out machines: what they have, launching, ending."""

from provisioner.clouds.box import Box, Cloud, Kind, Order
from provisioner.clouds.errors import CloudError
from provisioner.clouds.providers import PROVIDERS, open_cloud

__all__ = ["PROVIDERS", "Box", "Cloud", "CloudError", "Kind", "Order", "open_cloud"]
