"""What a host is: Ansible's facts, read from files so that they cost milliseconds."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pwd
import shutil
import socket
import struct
import sys
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from provisioner.remote import process

_SIOCGIFADDR = 0x8915
_SIOCGIFNETMASK = 0x891B

FAMILIES = {
    "Debian": ("debian", "ubuntu", "raspbian", "linuxmint", "pop", "kali"),
    "RedHat": ("rhel", "fedora", "centos", "rocky", "almalinux", "amzn", "ol"),
    "Suse": ("suse", "sles", "opensuse", "opensuse-leap", "opensuse-tumbleweed"),
    "Archlinux": ("arch", "manjaro"),
    "Alpine": ("alpine",),
}
NAMES = {
    "debian": "Debian",
    "ubuntu": "Ubuntu",
    "rhel": "RedHat",
    "fedora": "Fedora",
    "centos": "CentOS",
    "rocky": "Rocky",
    "almalinux": "AlmaLinux",
    "amzn": "Amazon",
    "ol": "OracleLinux",
    "sles": "SLES",
    "opensuse-leap": "openSUSE Leap",
    "arch": "Archlinux",
    "alpine": "Alpine",
}
PACKAGE_MANAGERS = (("apt-get", "apt"), ("dnf", "dnf"), ("yum", "yum"), ("zypper", "zypper"))


def gather() -> dict[str, Any]:
    """All facts. One that this host can't tell is missing, or empty where Ansible has it so."""
    facts: dict[str, Any] = {}
    for gatherer in (_system, _distribution, _hardware, _network, _software, _keys, _now):
        # a strange host is no reason to know nothing of it
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            facts.update(gatherer())
    return {f"ansible_{name}": value for name, value in facts.items()}


def _read(path: str) -> str:
    try:
        return Path(path).read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _system() -> dict[str, Any]:
    uname = os.uname()
    account = pwd.getpwuid(os.geteuid())
    return {
        "system": uname.sysname,
        "kernel": uname.release,
        "machine": uname.machine,
        "architecture": uname.machine,
        "nodename": uname.nodename,
        "hostname": uname.nodename.split(".")[0],
        "fqdn": _fqdn(uname.nodename),
        "machine_id": _read("/etc/machine-id"),
        "uptime_seconds": int(float(_read("/proc/uptime").split()[0])),
        "user_id": account.pw_name,
        "user_uid": account.pw_uid,
        "user_dir": account.pw_dir,
        "env": {name: os.environ[name] for name in ("HOME", "PATH", "LANG") if name in os.environ},
    }


def _fqdn(nodename: str) -> str:
    """The full name as /etc/hosts has it; DNS is not asked, it may hang."""
    if "." in nodename:
        return nodename
    for line in _read("/etc/hosts").splitlines():
        names = line.split("#")[0].split()[1:]
        if nodename in names:
            return next((n for n in names if n.startswith(nodename + ".")), nodename)
    return nodename


def os_release(path: str = "/etc/os-release") -> dict[str, str]:
    """The fields of an os-release file."""
    fields = {}
    for line in _read(path).splitlines():
        name, separator, value = line.partition("=")
        if separator:
            fields[name.strip()] = value.strip().strip("\"'")
    return fields


def _distribution() -> dict[str, Any]:
    release = os_release()
    name = release.get("ID", "").lower()
    version = release.get("VERSION_ID", "")
    family = next(
        (
            family
            for word in (name, *release.get("ID_LIKE", "").lower().split())
            for family, members in FAMILIES.items()
            if word in members
        ),
        NAMES.get(name, name),
    )
    exact = _read("/etc/debian_version") if name == "debian" else ""
    return {
        "distribution": NAMES.get(name, release.get("NAME", name)),
        # Debian's point release is only here, and Ansible's fact has it
        "distribution_version": exact if exact.split(".")[0] == version else version,
        "distribution_major_version": version.split(".")[0],
        "distribution_release": release.get("VERSION_CODENAME", "NA"),
        "os_family": family,
    }


def _hardware() -> dict[str, Any]:
    memory = {}
    for line in _read("/proc/meminfo").splitlines():
        name, _, value = line.partition(":")
        memory[name] = int(value.split()[0])
    disk = os.statvfs("/")
    root = {
        "mount": "/",
        "size_total": disk.f_frsize * disk.f_blocks,
        "size_available": disk.f_frsize * disk.f_bavail,
    }
    return {
        "processor_vcpus": os.cpu_count() or 1,
        "processor_nproc": len(os.sched_getaffinity(0)),
        "memtotal_mb": memory["MemTotal"] // 1024,
        "memfree_mb": memory["MemFree"] // 1024,
        "memavailable_mb": memory.get("MemAvailable", memory["MemFree"]) // 1024,
        "swaptotal_mb": memory.get("SwapTotal", 0) // 1024,
        "mounts": [root],
    }


def _network() -> dict[str, Any]:
    addresses = {name: _address(name) for _, name in socket.if_nameindex()}
    every = [address for address in addresses.values() if address]
    return {
        "interfaces": sorted(addresses),
        "all_ipv4_addresses": [a for a in every if not a.startswith("127.")],
        "default_ipv4": _default(addresses),
    }


def _default(addresses: dict[str, str]) -> dict[str, str]:
    routes = []
    for line in _read("/proc/net/route").splitlines()[1:]:
        interface, destination, gateway, flags, _, _, metric, mask = line.split()[:8]
        if destination == mask == "00000000" and int(flags, 16) & 1:
            address = socket.inet_ntoa(struct.pack("<L", int(gateway, 16)))
            routes.append((int(metric), interface, address))
    if not routes:
        return {}
    _, interface, gateway = min(routes)
    found = {"interface": interface, "gateway": gateway}
    if addresses.get(interface):
        found["address"] = addresses[interface]
        found["netmask"] = _address(interface, _SIOCGIFNETMASK)
    return found


def _address(interface: str, request: int = _SIOCGIFADDR) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        name = struct.pack("256s", interface.encode()[:15])
        try:
            return socket.inet_ntoa(fcntl.ioctl(sock.fileno(), request, name)[20:24])
        except OSError:
            return ""


def _software() -> dict[str, Any]:
    managers = [name for program, name in PACKAGE_MANAGERS if shutil.which(program)]
    running = os.path.isdir("/run/systemd/system")
    return {
        "service_mgr": "systemd" if running else _read("/proc/1/comm") or "unknown",
        "pkg_mgr": managers[0] if managers else "unknown",
        "python_version": ".".join(map(str, sys.version_info[:3])),
        "virtualization_type": _virtualization(),
    }


def _virtualization() -> str:
    """What systemd-detect-virt says; "none" on bare metal and where there is no such program."""
    container = _read("/run/systemd/container")
    if container:
        return container
    if not shutil.which("systemd-detect-virt"):
        return "none"
    outcome = process.run(["systemd-detect-virt"], timeout=2)
    return outcome.stdout.strip() or "none"


def _keys() -> dict[str, Any]:
    found = {}
    for kind in ("ed25519", "ecdsa", "rsa"):
        words = _read(f"/etc/ssh/ssh_host_{kind}_key.pub").split()
        if len(words) >= 2:
            found[f"ssh_host_key_{kind}_public"] = words[1]
            found[f"ssh_host_key_{kind}_public_keytype"] = words[0]
    return found


def _now() -> dict[str, Any]:
    seconds = time.time()
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    stamp = {"epoch": str(int(seconds)), "iso8601": moment.strftime("%Y-%m-%dT%H:%M:%SZ")}
    stamp["iso8601_micro"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"date_time": stamp}
