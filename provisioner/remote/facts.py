"""What a host is: Ansible's facts, read from files so that they cost milliseconds."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import sys
import time
from datetime import datetime, timezone
from typing import Any

from provisioner.remote import hardwarefacts, netfacts, process
from provisioner.remote.hardwarefacts import read

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
ENVIRONMENT = (
    "HOME LANG LANGUAGE LC_ALL LOGNAME MAIL PATH PWD SHELL SSH_CLIENT SSH_CONNECTION SUDO_GID "
    "SUDO_UID SUDO_USER TERM TMPDIR TZ USER XDG_RUNTIME_DIR"
).split()
"""What of the environment is told: any other variable may be a secret."""

VIRTUALIZATION = {
    "amazon": "kvm",
    "google": "kvm",
    "microsoft": "VirtualPC",
    "oracle": "virtualbox",
    "qemu": "kvm",
    "vmware": "VMware",
}
"""Ansible's words for what systemd-detect-virt says, where they differ."""

PACKAGE_MANAGERS = (("apt-get", "apt"), ("dnf", "dnf"), ("yum", "yum"), ("zypper", "zypper"))


def gather() -> dict[str, Any]:
    """All facts. One that this host can't tell is missing, or empty where Ansible has it so."""
    facts: dict[str, Any] = {}
    for gatherer in (
        _system,
        _user,
        _distribution,
        hardwarefacts.processor,
        hardwarefacts.memory,
        hardwarefacts.mounts,
        hardwarefacts.devices,
        hardwarefacts.firmware,
        netfacts.gather,
        _resolver,
        _software,
        _security,
        _virtualization,
        _keys,
        _now,
    ):
        # a strange host is no reason to know nothing of it
        with contextlib.suppress(OSError, ValueError, KeyError, IndexError):
            facts.update(gatherer())
    return {f"ansible_{name}": value for name, value in facts.items()}


def _system() -> dict[str, Any]:
    uname = os.uname()
    full = _fqdn(uname.nodename)
    load = os.getloadavg()
    return {
        "system": uname.sysname,
        "kernel": uname.release,
        "kernel_version": uname.version,
        "machine": uname.machine,
        "architecture": uname.machine,
        "userspace_bits": "64" if sys.maxsize > 1 << 32 else "32",
        "nodename": uname.nodename,
        "hostname": uname.nodename.split(".")[0],
        "fqdn": full,
        "domain": full.partition(".")[2],
        "machine_id": read("/etc/machine-id"),
        "cmdline": _cmdline(),
        "loadavg": {"1m": load[0], "5m": load[1], "15m": load[2]},
        "uptime_seconds": int(float(read("/proc/uptime").split()[0])),
        "env": {name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
    }


def _cmdline() -> dict[str, Any]:
    """The kernel's own arguments; a word without a value is true."""
    words = (word.partition("=") for word in read("/proc/cmdline").split())
    return {name: value if separator else True for name, separator, value in words}


def _user() -> dict[str, Any]:
    account = pwd.getpwuid(os.geteuid())
    return {
        "user_id": account.pw_name,
        "user_uid": account.pw_uid,
        "user_gid": account.pw_gid,
        "user_gecos": account.pw_gecos,
        "user_dir": account.pw_dir,
        "user_shell": account.pw_shell,
        "real_user_id": os.getuid(),
        "effective_user_id": os.geteuid(),
        "real_group_id": os.getgid(),
        "effective_group_id": os.getegid(),
    }


def _fqdn(nodename: str) -> str:
    """The full name as /etc/hosts has it; DNS is not asked, it may hang."""
    lines = [line.split("#")[0].split() for line in read("/etc/hosts").splitlines()]
    address = next((words[0] for words in lines if nodename in words[1:]), "")
    names = next((words[1:] for words in lines if words and words[0] == address), [nodename])
    return next((name for name in names if "." in name), names[0])


def os_release(path: str = "/etc/os-release") -> dict[str, str]:
    """The fields of an os-release file."""
    fields = {}
    for line in read(path).splitlines():
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
    exact = read("/etc/debian_version") if name == "debian" else ""
    return {
        "distribution": NAMES.get(name, release.get("NAME", name)),
        # Debian's point release is only here, and Ansible's fact has it
        "distribution_version": exact if exact.split(".")[0] == version else version,
        "distribution_major_version": version.split(".")[0],
        "distribution_release": release.get("VERSION_CODENAME", "NA"),
        "os_family": family,
    }


def _resolver() -> dict[str, Any]:
    """`dns`, from resolv.conf."""
    found: dict[str, Any] = {}
    for line in read("/etc/resolv.conf").splitlines():
        name, *values = line.split("#")[0].split() or [""]
        if name == "nameserver":
            found.setdefault("nameservers", []).extend(values[:1])
        elif name in ("search", "sortlist"):
            found[name] = values
        elif name == "domain" and values:
            found[name] = values[0]
        elif name == "options":
            pairs = (value.partition(":") for value in values)
            found[name] = {key: value if colon else True for key, colon, value in pairs}
    return {"dns": found}


def _software() -> dict[str, Any]:
    managers = [name for program, name in PACKAGE_MANAGERS if shutil.which(program)]
    running = os.path.isdir("/run/systemd/system")
    version = sys.version_info
    words = ("major", "minor", "micro", "releaselevel", "serial")
    return {
        "service_mgr": "systemd" if running else read("/proc/1/comm") or "unknown",
        "pkg_mgr": managers[0] if managers else "unknown",
        "python_version": ".".join(map(str, version[:3])),
        "python": {
            "executable": sys.executable,
            "type": sys.implementation.name,
            "version": {word: getattr(version, word) for word in words},
            "version_info": list(version),
        },
        "lsb": _lsb(),
    }


def _lsb() -> dict[str, str]:
    """What lsb_release says, where there is one; it takes it from os-release itself."""
    if not (shutil.which("lsb_release") or os.path.exists("/etc/lsb-release")):
        return {}
    release = os_release()
    number = release.get("VERSION_ID", "")
    return {
        "id": NAMES.get(release.get("ID", ""), release.get("NAME", "")),
        "release": number,
        "major_release": number.split(".")[0],
        "codename": release.get("VERSION_CODENAME", ""),
        "description": release.get("PRETTY_NAME", ""),
    }


def _security() -> dict[str, Any]:
    selinux: dict[str, Any] = {"status": "disabled"}
    enforcing = read("/sys/fs/selinux/enforce")
    if enforcing:
        wanted = os_release("/etc/selinux/config")
        selinux = {"status": "enabled", "mode": "enforcing" if enforcing == "1" else "permissive"}
        selinux["config_mode"] = wanted.get("SELINUX", "unknown")
        selinux["type"] = wanted.get("SELINUXTYPE", "unknown")
    apparmor = os.path.exists("/sys/kernel/security/apparmor")
    return {
        "selinux": selinux,
        "apparmor": {"status": "enabled" if apparmor else "disabled"},
        "fips": read("/proc/sys/crypto/fips_enabled") == "1",
    }


def _virtualization() -> dict[str, Any]:
    """Guest of what, or host; systemd knows best."""
    kind = read("/run/systemd/container")
    if not kind and shutil.which("systemd-detect-virt"):
        kind = process.run(["systemd-detect-virt"], timeout=2).stdout.strip()
    if kind not in ("", "none"):
        kind = VIRTUALIZATION.get(kind, kind)
        return {"virtualization_type": kind, "virtualization_role": "guest"}
    if os.path.exists("/dev/kvm"):
        return {"virtualization_type": "kvm", "virtualization_role": "host"}
    return {"virtualization_type": "NA", "virtualization_role": "NA"}


def _keys() -> dict[str, Any]:
    found = {}
    for kind in ("ed25519", "ecdsa", "rsa"):
        words = read(f"/etc/ssh/ssh_host_{kind}_key.pub").split()
        if len(words) >= 2:
            found[f"ssh_host_key_{kind}_public"] = words[1]
            found[f"ssh_host_key_{kind}_public_keytype"] = words[0]
    return found


def _now() -> dict[str, Any]:
    seconds = time.time()
    moment, local = datetime.fromtimestamp(seconds, timezone.utc), time.localtime(seconds)
    formats = {
        "date": "%Y-%m-%d",
        "time": "%H:%M:%S",
        "year": "%Y",
        "month": "%m",
        "day": "%d",
        "hour": "%H",
        "minute": "%M",
        "second": "%S",
        "weekday": "%A",
        "weekday_number": "%w",
        "weeknumber": "%W",
        "tz": "%Z",
        "tz_offset": "%z",
        "iso8601_basic_short": "%Y%m%dT%H%M%S",
    }
    stamp = {name: time.strftime(form, local) for name, form in formats.items()}
    stamp["tz_dst"] = time.tzname[1]
    stamp["epoch"] = stamp["epoch_int"] = str(int(seconds))
    stamp["iso8601"] = moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    stamp["iso8601_micro"] = moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    stamp["iso8601_basic"] = f"{stamp['iso8601_basic_short']}{moment:%f}"
    return {"date_time": stamp}
