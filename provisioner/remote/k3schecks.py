"""What would keep k3s, or the gateway's Jobs in it, from working on a host; looked at, not changed.

Each check is one function of this file's table, and each is in the table of its test, good and bad.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioner.remote import k3shost
from provisioner.remote.arguments import Argument, normalise
from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.k3shost import K3sHost
from provisioner.remote.oserrors import advice_on_disks

ARGUMENTS = {
    "mode": Argument(choices=("server", "join", "existing"), default="server"),
    "version": Argument(required=True),
    "data_dir": Argument(default="/var/lib/rancher/k3s"),
    "kubeconfig": Argument(),
    "config": Argument("dict"),
    "min_disk_mib": Argument("int", default=0),
    "folders": Argument("list", default=("/images", "/var/log/worker")),
    "root": Argument(default="/"),
    "search_path": Argument(),
}
PODS = ("10.42.0.0/16", "10.43.0.0/16")
"""The networks of k3s's pods and services."""

CONTROLLERS = ("cpu", "cpuset", "memory")
LEAST_MTU = 1280
VXLAN = 50  # bytes that flannel's VXLAN takes from each packet
NO_CGROUP_V1 = (1, 35)
"""The first Kubernetes whose kubelet refuses to start under cgroup v1."""

KUBELETS = ("kubelet", "kubelite", "rke2", "k0s")
Wanted = dict[str, Any]


def look(arguments: dict[str, Any], checks: Checks) -> dict[str, Any]:
    """Make the checks for a mode of k3s. Returns what is under way: the version that is
    `installed`, whether it `upgrades`, whether the node `waits`, drained, for its end, and
    whether a token that `rotates` is still to be made.
    """
    wanted = normalise(arguments, ARGUMENTS)
    path = wanted["search_path"] or f"{os.environ.get('PATH', '')}:{k3shost.USUAL}"
    host = K3sHost(Path(wanted["root"]), path)
    for check in EXISTING if wanted["mode"] == "existing" else OWN:
        check(host, wanted, checks)
    installed = "" if wanted["mode"] == "existing" else host.installed()
    return {
        "installed": installed,
        "upgrades": bool(installed) and installed != wanted["version"],
        "waits": host.at(k3shost.WAITS).exists(),
        "rotates": host.at(k3shost.ROTATES).exists(),
    }


def _foreign(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    found = host.foreign_units()
    fix = "adopt it by k3s.mode existing, or take it away: /usr/local/bin/k3s-uninstall.sh"
    checks.add("k3s", not found, ", ".join(found) or "none but ours", "no other k3s", fix)


def _other_programs(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    running = [each for each in host.processes() if each.unit not in k3shost.UNITS]
    for name, names, severity, fix in (
        ("kubelet", KUBELETS, ERROR, "two kubelets fight over a host: stop it, or adopt its "
         "cluster by k3s.mode existing and k3s.kubeconfig"),
        ("docker", ("dockerd",), WARN, "it closes forwarding between pods: "
         "iptables -P FORWARD ACCEPT after it started, or remove it"),
        ("containerd", ("containerd",), WARN, "k3s brings its own and leaves this one alone; "
         "remove it if nobody needs it"),
    ):  # fmt: skip
        found = sorted({str(each) for each in running if each.name in names})
        checks.add(name, not found, ", ".join(found) or "none", "none", fix, severity)


def _upgrade(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    installed, version = host.installed(), wanted["version"]
    have, want = k3shost.release(installed), k3shost.release(version)
    if have is None or want is None or installed == version:
        return
    if have > want:
        fix = f"set k3s.version to {installed}; an older one needs `b9prov down` first"
        checks.add("upgrade", False, installed, f"{version} is older: no downgrade", fix)
    elif have[0] != want[0]:
        fix = "take the worker down first: b9prov down"
        checks.add("upgrade", False, installed, f"{version} is another major version", fix)
    else:
        between = [f"v{want[0]}.{minor}" for minor in range(have[1] + 1, want[1])]
        way = ", then ".join([*between, version])
        fix = f"set k3s.version to the newest release of {way}, with `b9prov up` after each"
        found = f"{installed} → {version}"
        checks.add("upgrade", not between, found, "one minor version at a time", fix)


def _data_stays(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    if host.text(k3shost.CONFIG) == "":
        return
    found = host.set_in_config("data-dir") or ARGUMENTS["data_dir"].default
    fix = "k3s would begin anew there: set k3s.data_dir as it is, or `b9prov down` first"
    same = found == wanted["data_dir"]
    checks.add("data", same, found, wanted["data_dir"], fix)


def _cgroups(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    unified = host.at("/sys/fs/cgroup/cgroup.controllers")
    if unified.exists():
        have = host.text("/sys/fs/cgroup/cgroup.controllers").split()
        found, severity = "version 2", ERROR
    else:
        lines = host.text("/proc/self/cgroup").splitlines()
        have = [name for line in lines for name in line.split(":")[1].split(",")]
        refused = (k3shost.release(wanted["version"]) or (0, 0))[:2] >= NO_CGROUP_V1
        fix = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line"
        checks.add("cgroups", False, "version 1", "version 2", fix, ERROR if refused else WARN)
        found, severity = "version 1", ERROR if "memory" not in have else WARN
    missing = [name for name in CONTROLLERS if name not in have]
    fix = "boot with cgroup_enable=memory cgroup_memory=1, and give a container all controllers"
    without = f"{found}, without {', '.join(missing)}" if missing else found
    checks.add("controllers", not missing, without, ", ".join(CONTROLLERS), fix, severity)


def _swap(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    found = [line.split()[0] for line in host.text("/proc/swaps").splitlines()[1:]]
    fix = "k3s runs with it, but memory limits don't hold then: swapoff -a, and out of /etc/fstab"
    checks.add("swap", not found, ", ".join(found) or "off", "off", fix, WARN)


def _overlay(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    loaded = "overlay" in host.text("/proc/filesystems").split()
    release = host.text("/proc/sys/kernel/osrelease")
    known = (
        host.text(f"/lib/modules/{release}/{name}") for name in ("modules.builtin", "modules.dep")
    )
    there = loaded or any("/overlay.ko" in text for text in known)
    fix = f"install the modules of kernel {release}, or boot one that has overlay"
    checks.add("overlay", there, "there" if there else "none", "the kernel's overlay", fix)


def _iptables(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    said = host.says("iptables", "--version").stdout
    legacy = host.text("/proc/net/ip_tables_names").split()
    nft = [line for line in host.says("nft", "list", "tables").stdout.splitlines()
           if line.startswith(("table ip nat", "table ip filter"))]  # fmt: skip
    mixed = legacy if "nf_tables" in said else nft if "legacy" in said else []
    found = said.strip() or "none, k3s brings its own"
    if mixed:
        found += f", and rules of the other kind: {', '.join(mixed)}"
    fix = "have one kind only: update-alternatives --set iptables /usr/sbin/iptables-nft, reboot"
    checks.add("iptables", not mixed, found, "rules of one kind", fix, WARN)


def _firewall(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    found, fix = "none that is active", ""
    status = host.says("ufw", "status").stdout
    if status.startswith("Status: active"):
        allowed = [line for line in status.splitlines() if "ALLOW" in line]
        closed = [net for net in PODS if not any(net in line for line in allowed)]
        found, fix = "ufw", "; ".join(f"ufw allow from {net} to any" for net in closed)
    elif host.says("firewall-cmd", "--state").stdout.strip() == "running":
        sources = host.says("firewall-cmd", "--zone=trusted", "--list-sources").stdout.split()
        closed = [net for net in PODS if net not in sources]
        add = "firewall-cmd --permanent --zone=trusted --add-source="
        found, fix = "firewalld", "; ".join(f"{add}{net}" for net in closed)
        fix += "; firewall-cmd --reload" if closed else ""
    cut = f"{found}, which cuts off the pods" if fix else found
    checks.add("firewall", not fix, cut, f"{' and '.join(PODS)} let through", fix)


def _network(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    own = ":" in str((wanted["config"] or {}).get("cluster-cidr", ""))
    there = host.has_ipv4()
    fix = "k3s.config: {cluster-cidr: fd42::/56, service-cidr: fd43::/112}, and IPv6 forwarding"
    found = "there" if there else "IPv6 only"
    checks.add("ipv4", there or own, found, "IPv4, or networks of IPv6 for pods", fix)
    interface = host.default_interface()
    fix = (
        "k3s takes the address of the default route's interface: add one, or set k3s.config.node-ip"
    )
    given = bool((wanted["config"] or {}).get("node-ip"))
    checks.add(
        "route",
        bool(interface) or given or not there,
        interface or "none",
        "a default route",
        fix,
        WARN,
    )
    mtu, over = host.mtu(interface), host.mtu("flannel.1")
    if mtu:
        fix = f"ip link set {interface} mtu 1500, as far as the network carries it"
        checks.add(
            "mtu", mtu >= LEAST_MTU, f"{mtu} of {interface}", f"{LEAST_MTU} or more", fix, WARN
        )
    if mtu and over:
        fix = (
            "it was made when the MTU was another: ip link delete flannel.1; systemctl restart k3s"
        )
        found = f"{over} of flannel.1, {mtu} of {interface}"
        checks.add("mtu of pods", over <= mtu - VXLAN, found, f"at most {mtu - VXLAN}", fix, WARN)


def _security(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    enforcing = host.text("/sys/fs/selinux/enforce") == "1"
    policy = host.at("/usr/share/selinux/packages/k3s.pp").exists()
    told = bool((wanted["config"] or {}).get("selinux"))
    fix = "install k3s-selinux and set k3s.config: {selinux: true}, or setenforce 0"
    found = "enforcing" if enforcing else "not enforcing"
    checks.add("selinux", not enforcing or (policy and told), found, "a policy for k3s", fix)
    enabled = host.text("/sys/module/apparmor/parameters/enabled") == "Y"
    parser = host.which("apparmor_parser")
    fix = "containers run without a profile: apt-get install apparmor"
    found = "enabled, without apparmor_parser" if enabled and not parser else "as it should be"
    checks.add("apparmor", not enabled or bool(parser), found, "apparmor_parser", fix, WARN)


def _disk(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    data = () if wanted["mode"] == "existing" else (wanted["data_dir"],)
    for path in (*data, *wanted["folders"]):
        place = _nearest(host.at(path))
        if not place.is_dir() or not os.access(place, os.W_OK):
            what = "is no directory" if not place.is_dir() else "can't be written"
            shown = f"/{place.relative_to(host.root)}"
            fix = advice_on_disks([str(place)]) or (
                f"the gateway's Jobs and k3s need it: put {shown} right"
            )
            checks.add(f"folder {path}", False, f"{shown} {what}", "a directory", fix)
            continue
        if path == "/var/log/worker":
            continue  # logs alone: / was looked at before
        free, least = shutil.disk_usage(place).free >> 20, wanted["min_disk_mib"]
        fix = f"free {least - free} MiB there, or set k3s.data_dir to a larger disk"
        checks.add(f"disk {path}", free >= least, f"{free} MiB free", f"{least} MiB free", fix)


def _nearest(path: Path) -> Path:
    """What there is of a path."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _adopted(host: K3sHost, wanted: Wanted, checks: Checks) -> None:
    own = wanted["kubeconfig"] is None
    program, path = ("k3s", k3shost.KUBECONFIG) if own else ("kubectl", wanted["kubeconfig"])
    there = host.which(program)
    fix = f"k3s.mode existing uses the host's own {program}: install it, or set k3s.mode server"
    if not checks.add(f"command {program}", bool(there), there or "nothing", program, fix):
        return
    fix = "k3s.kubeconfig names the host's own kubeconfig; without it k3s's is taken"
    if not checks.add("kubeconfig", host.at(path).is_file(), path, "a kubeconfig there", fix):
        return
    words = ("kubectl",) if own else ("--kubeconfig", str(host.at(path)))
    done = host.says(program, *words, "get", "--raw", "/readyz")
    found = "ok" if done.rc == 0 else done.said or f"no answer within {k3shost.DEADLINE:.0f} s"
    fix = f"see that it runs, and that root may ask it: {program} {' '.join(words)} get nodes"
    checks.add("kubernetes", done.rc == 0, found, "an answer", fix)


Check = Callable[[K3sHost, Wanted, Checks], None]
OWN: tuple[Check, ...] = (
    _foreign,
    _other_programs,
    _upgrade,
    _data_stays,
    _cgroups,
    _swap,
    _overlay,
    _iptables,
    _firewall,
    _network,
    _security,
    _disk,
)
EXISTING: tuple[Check, ...] = (_adopted, _disk)
