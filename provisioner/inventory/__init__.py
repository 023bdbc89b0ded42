"""Inventory: schema, loading, variables, host patterns, secrets by reference."""

from provisioner.inventory.extra import parse_extra
from provisioner.inventory.load import load_inventory, one_shot
from provisioner.inventory.model import GATEWAY, Gateway, Host, Inventory, describe

__all__ = [
    "GATEWAY",
    "Gateway",
    "Host",
    "Inventory",
    "describe",
    "load_inventory",
    "one_shot",
    "parse_extra",
]
