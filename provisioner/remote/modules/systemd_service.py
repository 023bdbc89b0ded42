"""Units of systemd, by the module's newer name. Ansible's `systemd_service`."""

from __future__ import annotations

from provisioner.remote.modules import systemd

ARGUMENTS = systemd.ARGUMENTS
run = systemd.run
