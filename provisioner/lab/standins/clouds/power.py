"""Hosts of a lab as the machines of a cloud's stand-in, set up as their images would do it."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import yaml

from provisioner.lab.host import Host
from provisioner.lab.lab import Lab
from provisioner.lab.machine import command, write_file
from provisioner.lab.standins.clouds.cloud_stand_in import Machine

USER = "ubuntu"


class LabPower:
    """Each machine is a worker of the lab, as a new host, until none is free."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._free = list(lab.worker_hosts)
        self._lock = threading.Lock()
        self.hosts: dict[str, Host] = {}

    def on(self, machine: Machine) -> None:
        """Boot a host with the machine's user data; its address is known when it is on."""
        with self._lock:
            host = self._free.pop(0)
        self.hosts[machine.id] = host
        host.wipe()
        host.create()
        _add_user(host, machine.login_key)
        if machine.user_data.startswith("#cloud-config"):
            _give_host_keys(host, yaml.safe_load(machine.user_data))
        host.start()
        machine.address = host.address
        if machine.user_data.startswith("#!"):
            # as its provider does it: some time after the first boot, and after sshd
            host.exec(["sh", "-s"], machine.user_data)

    def off(self, machine: Machine) -> None:
        """Cut its power."""
        if host := self.hosts.pop(machine.id, None):
            host.kill()
            with self._lock:
                self._free.append(host)


def _add_user(host: Host, login_key: str) -> None:
    command(["chroot", host.root, "useradd", "--create-home", "--shell", "/bin/bash", USER])
    write_file(host.path(f"/etc/sudoers.d/90-{USER}"), f"{USER} ALL=(ALL) NOPASSWD: ALL\n", 0o440)
    home = host.path(f"/home/{USER}")
    owner = home.stat()
    keys = home / ".ssh" / "authorized_keys"
    write_file(keys, f"{login_key}\n", 0o600)
    for path in (keys.parent, keys):
        os.chown(path, owner.st_uid, owner.st_gid)


def _give_host_keys(host: Host, config: dict[str, dict[str, str]]) -> None:
    """What cloud-init does with `ssh_keys`."""
    for old in host.path("/etc/ssh").glob("ssh_host_*_key*"):
        old.unlink()
    key = Path("/etc/ssh/ssh_host_ed25519_key")
    write_file(host.path(key), config["ssh_keys"]["ed25519_private"], 0o600)
    write_file(host.path(f"{key}.pub"), config["ssh_keys"]["ed25519_public"] + "\n")
