"""Real Debian hosts on this machine, to try and to test against."""

from provisioner.lab.host import Host
from provisioner.lab.lab import (
    Lab,
    artifacts_dir,
    lab_down,
    lab_names,
    lab_status,
    lab_up,
)
from provisioner.lab.machine import APT_PACKAGES, LabError, check_machine
from provisioner.lab.rootfs import ensure_rootfs

__all__ = [
    "APT_PACKAGES",
    "Host",
    "Lab",
    "LabError",
    "artifacts_dir",
    "check_machine",
    "ensure_rootfs",
    "lab_down",
    "lab_names",
    "lab_status",
    "lab_up",
]
