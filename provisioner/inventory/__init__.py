"""Inventory: schema, loading, variables, host patterns, secrets by reference."""

from provisioner.inventory.extra import parse_extra
from provisioner.inventory.load import load_inventory, one_shot
from provisioner.inventory.model import (
    GATEWAY,
    GATEWAYS,
    Gateway,
    Host,
    Inventory,
    describe,
    is_gateway,
)

__all__ = [
    "GATEWAY",
    "GATEWAYS",
    "Gateway",
    "Host",
    "Inventory",
    "describe",
    "is_gateway",
    "load_inventory",
    "one_shot",
    "parse_extra",
]
