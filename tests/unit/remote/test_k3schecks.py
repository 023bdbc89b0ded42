"""What stands in k3s's way: each check, on a host where all is well and on a bad one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from provisioner.remote import k3schecks, k3shost
from provisioner.remote.arguments import BadArgument
from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.module import ModuleFailed

ROUTE = (
    "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n"
    "eth0\t{destination}\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
)
UFW = "Status: active\n\nTo                         Action      From\n--\n22/tcp ALLOW Anywhere\n"
SWAPS = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"


class Host:
    """A host that k3s runs well on, made of files, until something is done to it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.wanted: dict[str, Any] = {"version": "v1.33.4+k3s1"}
        self.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids\n")
        self.write("/proc/swaps", SWAPS)
        self.write("/proc/filesystems", "nodev\tsysfs\n\text4\nnodev\toverlay\n")
        self.write("/proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
        self.write("/proc/net/route", ROUTE.format(destination="00000000"))
        self.write("/sys/class/net/eth0/mtu", "1500\n")
        self.write("/sys/module/apparmor/parameters/enabled", "Y\n")
        self.process(1, "systemd", "/init.scope")
        self.program("apparmor_parser", "true")
        self.program("iptables", "echo 'iptables v1.8.9 (nf_tables)'")

    def write(self, path: str, text: str) -> None:
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def remove(self, path: str) -> None:
        (self.root / path.lstrip("/")).unlink()

    def process(self, pid: int, name: str, group: str) -> None:
        self.write(f"/proc/{pid}/comm", f"{name}\n")
        self.write(f"/proc/{pid}/cgroup", f"0::{group}\n")

    def program(self, name: str, script: str, folder: str = "/usr/bin") -> None:
        self.write(f"{folder}/{name}", f"#!/bin/sh\n{script}\n")
        (self.root / folder.lstrip("/") / name).chmod(0o755)

    def k3s(self, version: str, config: str = "node-name: w1\n") -> None:
        """One that b9prov installed."""
        script = f"echo 'k3s version {version} (148243c4)'; echo 'go version go1.24.5'"
        self.program("k3s", script, "/usr/local/bin")
        self.write("/etc/systemd/system/k3s.service", "# Written by b9prov.\n[Unit]\n")
        self.write("/etc/rancher/k3s/config.yaml", "# Written by b9prov.\n" + config)

    def look(self, **wanted: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        """The checks by name, and what an upgrade must know."""
        folders = [self.root / folder for folder in ("usr/local/bin", "usr/bin")]
        path = ":".join(map(str, folders))  # none of the machine that tests run on
        checks = Checks()
        arguments = {**self.wanted, "root": str(self.root), "search_path": path, **wanted}
        upgrade = k3schecks.look(arguments, checks)
        assert all(check["ok"] or check["fix"] for check in checks.found)
        return {check["name"]: check for check in checks.found}, upgrade


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def cgroup_v1(controllers: str) -> Callable[[Host], None]:
    def change(host: Host) -> None:
        host.remove("/sys/fs/cgroup/cgroup.controllers")
        names = enumerate(controllers.split(), 2)
        host.write("/proc/self/cgroup", "".join(f"{n}:{name}:/\n" for n, name in names))

    return change


def ufw(*allowed: str) -> Callable[[Host], None]:
    lines = "".join(f"Anywhere  ALLOW  {net}\n" for net in allowed)
    return lambda host: host.program("ufw", f"/bin/cat <<'END'\n{UFW}{lines}END")


def firewalld(*trusted: str) -> Callable[[Host], None]:
    script = f'case "$*" in --state) echo running ;; *) echo {" ".join(trusted)} ;; esac'
    return lambda host: host.program("firewall-cmd", script)


def both(*changes: Callable[[Host], None]) -> Callable[[Host], None]:
    return lambda host: [change(host) for change in changes] and None


class Bad(NamedTuple):
    """A host on which one check fails: which, what was done to it, and what the check says."""

    name: str
    change: Callable[[Host], None]
    found: str
    severity: str = ERROR


BAD = {
    "a k3s by its own script": Bad(
        "k3s",
        lambda h: h.write("/etc/systemd/system/k3s.service", "[Unit]\nDescription=k3s\n"),
        "/etc/systemd/system/k3s.service",
    ),
    "a k3s agent": Bad(
        "k3s",
        lambda h: h.write("/usr/lib/systemd/system/k3s-agent.service", "[Unit]\n"),
        "/usr/lib/systemd/system/k3s-agent.service",
    ),
    "kubeadm": Bad(
        "kubelet",
        lambda h: h.process(7, "kubelet", "/system.slice/kubelet.service"),
        "kubelet (pid 7, kubelet.service)",
    ),
    "microk8s": Bad(
        "kubelet",
        lambda h: h.process(8, "kubelite", "/system.slice/snap.microk8s.daemon-kubelite.service"),
        "kubelite (pid 8, snap.microk8s.daemon-kubelite.service)",
    ),
    "rke2": Bad(
        "kubelet",
        lambda h: h.process(9, "rke2", "/system.slice/rke2-server.service"),
        "rke2 (pid 9, rke2-server.service)",
    ),
    "docker": Bad(
        "docker",
        lambda h: h.process(5, "dockerd", "/system.slice/docker.service"),
        "dockerd (pid 5, docker.service)",
        WARN,
    ),
    "containerd": Bad(
        "containerd",
        lambda h: h.process(6, "containerd", "/system.slice/containerd.service"),
        "containerd (pid 6, containerd.service)",
        WARN,
    ),
    "a jump over a minor": Bad(
        "upgrade", lambda h: h.k3s("v1.30.9+k3s1"), "v1.30.9+k3s1 → v1.33.4"
    ),
    "a downgrade": Bad("upgrade", lambda h: h.k3s("v1.34.1+k3s1"), "v1.34.1+k3s1"),
    "a downgrade of k3s alone": Bad("upgrade", lambda h: h.k3s("v1.33.4+k3s2"), "v1.33.4+k3s2"),
    "another major": Bad("upgrade", lambda h: h.k3s("v0.33.4+k3s1"), "v0.33.4+k3s1"),
    "data elsewhere": Bad(
        "data", lambda h: h.k3s("v1.33.4+k3s1", "data-dir: '/srv/k3s'\n"), "/srv/k3s"
    ),
    "no memory controller": Bad(
        "controllers",
        lambda h: h.write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io pids\n"),
        "version 2, without memory",
    ),
    "cgroup v1": Bad("cgroups", cgroup_v1("cpu,cpuacct cpuset memory"), "version 1", WARN),
    "cgroup v1 where it is refused": Bad(
        "cgroups",
        both(cgroup_v1("cpu cpuset memory"), lambda h: h.wanted.update(version="v1.35.0+k3s1")),
        "version 1",
    ),
    "cgroup v1 without memory": Bad(
        "controllers", cgroup_v1("cpu cpuset"), "version 1, without memory"
    ),
    "cgroup v1 without cpuset": Bad(
        "controllers", cgroup_v1("cpu memory"), "version 1, without cpuset", WARN
    ),
    "swap": Bad(
        "swap",
        lambda h: h.write("/proc/swaps", SWAPS + "/dev/sda2  partition 8388604 0 -2\n"),
        "/dev/sda2",
        WARN,
    ),
    "no overlay": Bad(
        "overlay", lambda h: h.write("/proc/filesystems", "nodev\tsysfs\n\text4\n"), "none"
    ),
    "legacy rules beside nft": Bad(
        "iptables",
        lambda h: h.write("/proc/net/ip_tables_names", "nat\nfilter\n"),
        "iptables v1.8.9 (nf_tables), and rules of the other kind: nat, filter",
        WARN,
    ),
    "nft rules beside legacy": Bad(
        "iptables",
        both(
            lambda h: h.program("iptables", "echo 'iptables v1.8.4 (legacy)'"),
            lambda h: h.program("nft", "echo table inet b9prov; echo table ip nat"),
        ),
        "iptables v1.8.4 (legacy), and rules of the other kind: table ip nat",
        WARN,
    ),
    "ufw": Bad("firewall", ufw(), "ufw, which cuts off the pods"),
    "ufw, half open": Bad("firewall", ufw("10.42.0.0/16"), "ufw, which cuts off the pods"),
    "firewalld": Bad("firewall", firewalld(), "firewalld, which cuts off the pods"),
    "IPv6 only": Bad(
        "ipv4", lambda h: h.write("/proc/net/route", ROUTE.partition("eth0")[0]), "IPv6 only"
    ),
    "no default route": Bad(
        "route",
        lambda h: h.write("/proc/net/route", ROUTE.format(destination="0001A8C0")),
        "none",
        WARN,
    ),
    "a small MTU": Bad(
        "mtu", lambda h: h.write("/sys/class/net/eth0/mtu", "1200\n"), "1200 of eth0", WARN
    ),
    "flannel of another MTU": Bad(
        "mtu of pods",
        lambda h: h.write("/sys/class/net/flannel.1/mtu", "8951\n"),
        "8951 of flannel.1, 1500 of eth0",
        WARN,
    ),
    "SELinux": Bad("selinux", lambda h: h.write("/sys/fs/selinux/enforce", "1"), "enforcing"),
    "AppArmor without its program": Bad(
        "apparmor",
        lambda h: h.remove("/usr/bin/apparmor_parser"),
        "enabled, without apparmor_parser",
        WARN,
    ),
    "a small disk": Bad(
        "disk /var/lib/rancher/k3s", lambda h: h.wanted.update(min_disk_mib=1 << 40), "MiB free"
    ),
    "a file in place of the images": Bad(
        "folder /images", lambda h: h.write("/images", ""), "/images is no directory"
    ),
    "a file in place of the logs": Bad(
        "folder /var/log/worker", lambda h: h.write("/var/log", ""), "/var/log is no directory"
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_host(host: Host, case: str) -> None:
    name, change, found, severity = BAD[case]
    assert all(check["ok"] for check in host.look()[0].values())
    change(host)
    checks, _ = host.look()
    failed = {each for each, check in checks.items() if not check["ok"]}
    assert name in failed
    # cgroup v1 is told beside what it lacks, and one disk holds all
    assert failed - {name} <= {"cgroups", "disk /images"}, failed
    assert found in checks[name]["found"]
    assert checks[name]["severity"] == severity


def test_every_check_is_seen_bad(host: Host) -> None:
    host.write("/sys/class/net/flannel.1/mtu", "1450\n")
    host.k3s("v1.33.3+k3s1")
    names = {check.split(" /")[0] for check in host.look()[0]}
    assert names - {bad.name.split(" /")[0] for bad in BAD.values()} == set()


GOOD = {
    "nothing of k3s": lambda h: None,
    "our own, with its containerd": both(
        lambda h: h.k3s("v1.33.4+k3s1"),
        lambda h: h.process(9, "containerd", "/system.slice/k3s.service"),
    ),
    "the patch before": lambda h: h.k3s("v1.33.3+k3s2"),
    "the minor before": lambda h: h.k3s("v1.32.9+k3s1"),
    "overlay as a module": both(
        lambda h: h.write("/proc/filesystems", "nodev\tsysfs\n"),
        lambda h: h.write(
            "/lib/modules/6.1.0-18-amd64/modules.dep", "kernel/fs/overlayfs/overlay.ko:\n"
        ),
    ),
    "no iptables": lambda h: h.remove("/usr/bin/iptables"),
    "ufw that is off": lambda h: h.program("ufw", "echo Status: inactive"),
    "ufw that lets pods through": ufw("10.42.0.0/16", "10.43.0.0/16"),
    "firewalld that lets pods through": firewalld("10.42.0.0/16", "10.43.0.0/16"),
    "IPv6 only, as wanted": both(
        lambda h: h.write("/proc/net/route", ""),
        lambda h: h.wanted.update(config={"cluster-cidr": "fd42::/56"}),
    ),
    "an address that is given": both(
        lambda h: h.write("/proc/net/route", ROUTE.format(destination="0001A8C0")),
        lambda h: h.wanted.update(config={"node-ip": "192.168.1.7"}),
    ),
    "flannel as it should be": lambda h: h.write("/sys/class/net/flannel.1/mtu", "1450\n"),
    "SELinux with k3s's policy": both(
        lambda h: h.write("/sys/fs/selinux/enforce", "1"),
        lambda h: h.write("/usr/share/selinux/packages/k3s.pp", ""),
        lambda h: h.wanted.update(config={"selinux": True}),
    ),
    "no AppArmor": lambda h: h.remove("/sys/module/apparmor/parameters/enabled"),
    "data where it was": both(
        lambda h: h.k3s("v1.33.4+k3s1", "data-dir: /srv/k3s\n"),
        lambda h: h.wanted.update(data_dir="/srv/k3s"),
    ),
}


@pytest.mark.parametrize("case", GOOD)
def test_a_good_host(host: Host, case: str) -> None:
    GOOD[case](host)
    assert [each for each in host.look()[0].values() if not each["ok"]] == []


def test_a_refused_upgrade_names_the_way(host: Host) -> None:
    host.k3s("v1.30.9+k3s1")
    assert "release of v1.31, then v1.32, then v1.33.4+k3s1" in host.look()[0]["upgrade"]["fix"]


@pytest.mark.parametrize(
    ("installed", "upgrades"), [("", False), ("v1.33.4+k3s1", False), ("v1.32.9+k3s1", True)]
)
def test_what_an_upgrade_must_know(host: Host, installed: str, upgrades: bool) -> None:
    if installed:
        host.k3s(installed)
    known = {"installed": installed, "upgrades": upgrades, "waits": False, "rotates": False}
    assert host.look()[1] == known
    host.write(k3shost.WAITS, "")
    host.write(k3shost.ROTATES, "")
    assert host.look()[1] == {**known, "waits": True, "rotates": True}


@pytest.mark.parametrize("kubeconfig", [None, "/etc/kubernetes/admin.conf"])
def test_what_is_to_be_adopted(host: Host, kubeconfig: str | None) -> None:
    """Another Kubernetes may have what k3s may not; it must be there, and answer."""
    program = "kubectl" if kubeconfig else "k3s"
    host.process(7, "kubelet", "/system.slice/kubelet.service")
    adopt = {"mode": "existing", "kubeconfig": kubeconfig}

    def failed() -> set[str]:
        return {name for name, check in host.look(**adopt)[0].items() if not check["ok"]}

    assert failed() == {f"command {program}"}
    host.program(program, 'case "$*" in *"get --raw /readyz") echo ok ;; *) exit 9 ;; esac')
    assert failed() == {"kubeconfig"}
    host.write(kubeconfig or "/etc/rancher/k3s/k3s.yaml", "kind: Config\n")
    assert failed() == set()
    host.program(program, "echo 'the server is away' >&2; exit 1")
    assert host.look(**adopt)[0]["kubernetes"]["found"] == "the server is away"
    assert host.look(**adopt)[1]["upgrades"] is False


def test_preflight_tells_of_them_with_its_own(apply: Any, host: Host) -> None:
    host.process(7, "kubelet", "/system.slice/kubelet.service")
    host.write("/proc/swaps", SWAPS + "/swapfile file 1 0 -2\n")
    k3s = {**host.wanted, "root": str(host.root), "search_path": f"{host.root}/usr/bin"}
    with pytest.raises(ModuleFailed) as caught:
        apply("preflight", architectures=["riscv64"], k3s=k3s)
    assert "2 of " in caught.value.msg and "kubelet (pid 7" in caught.value.msg
    assert any(line.startswith("swap: found /swapfile") for line in caught.value.extra["warnings"])
    ignored = apply("preflight", k3s=k3s, warn_only=["kubelet"])
    assert len(ignored["warnings"]) == 2
    assert ignored["k3s"]["upgrades"] is False


def test_preflight_without_k3s(apply: Any) -> None:
    assert apply("preflight")["k3s"] == {}
    with pytest.raises(ModuleFailed, match="k3s: missing argument 'version'"):
        apply("preflight", k3s={"mode": "server"})


@pytest.mark.parametrize(
    ("version", "numbers"),
    [
        ("v1.33.4+k3s1", (1, 33, 4, 1)),
        ("1.33.4", (1, 33, 4, 0)),
        ("v1.33.4-rc1+k3s2", (1, 33, 4, 2)),
        ("latest", None),
    ],
)
def test_a_version_as_numbers(version: str, numbers: Any) -> None:
    assert k3shost.release(version) == numbers


def test_unknown_arguments_are_refused() -> None:
    with pytest.raises(BadArgument):
        k3schecks.look({"version": "v1.33.4+k3s1", "colour": "red"}, Checks())
