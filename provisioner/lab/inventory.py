"""The inventory of a lab, as a user would write it."""

from __future__ import annotations

import platform
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from provisioner.lab.artifacts import MANIFEST
from provisioner.lab.rootfs import LOGIN

if TYPE_CHECKING:
    from provisioner.lab.lab import Lab

_TEXT = """\
# Lab {name}, written by `b9prov lab up`.
gateway:
  host: {gateway}
  user: {user}
  identity_file: {identity}
  host_key: {gateway_key}
  admin_token: !file {token}
  addresses: {addresses}

defaults:
  user: {user}
  identity_file: {identity}
  pool: {pool}
  gpu: false
  artifacts: {{mirror: "{mirror}"}}
{pins}
hosts:
"""


def inventory_text(lab: Lab) -> str:
    """The inventory file of a lab."""
    text = _TEXT.format(
        name=lab.name,
        gateway=lab.gateway.address,
        user=LOGIN,
        identity=lab.identity_file,
        gateway_key=lab.gateway.host_key,
        token=lab.admin_token_path.name,
        addresses=lab.network.reverse_pool,
        pool=lab.pool,
        mirror=lab.mirror_url,
        pins=_pins(lab.artifacts_dir),
    )
    for host in lab.worker_hosts:
        text += f"  {host.name}:\n    address: {host.address}\n    host_key: {host.host_key}\n"
    return text


def _pins(artifacts: Path) -> str:
    """Versions and hashes of what the mirror serves; nothing when it serves nothing yet."""
    file = artifacts / MANIFEST
    served = yaml.safe_load(file.read_text()) if file.is_file() else {}
    arch = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64")
    lines = ""
    for name in ("ollama", "k3s"):
        if artifact := served.get(f"{name}-{arch}"):
            lines += (
                f'  {name}: {{version: "{artifact["version"]}", sha256: {artifact["sha256"]}}}\n'
            )
    return lines
