"""The facts of hardware, network and time, compared with what the system's own tools say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import facts, hardwarefacts, netfacts

NETWORK = """
set -e
ip link set lo up
ip link add one address 02:00:00:00:00:01 mtu 1400 type veth peer name end
ip link set end up
ip addr add 192.0.2.7/28 brd + dev one
ip addr add 192.0.2.9/28 dev one
ip addr add 2001:db8::7/64 dev one nodad
ip addr add 10.9.9.9/32 dev lo
ip link set one up
ip route add default via 192.0.2.1
ip link add v0 type veth peer name v1
ip link add br-0 type bridge
ip link set v0 master br-0
"""


@pytest.fixture(scope="module")
def network() -> dict[str, Any]:
    """The facts of a network of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can make a network")
    code = (
        "import json; from provisioner.remote import netfacts; print(json.dumps(netfacts.gather()))"
    )
    script = f'{NETWORK}\nexec "$0" -c "{code}"'
    command = ["unshare", "--net", "sh", "-c", script, sys.executable]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_addresses(network: dict[str, Any]) -> None:
    one = network["one"]
    primary = {"address": "192.0.2.7", "prefix": "28", "netmask": "255.255.255.240"}
    assert one["ipv4"] == {**primary, "network": "192.0.2.0", "broadcast": "192.0.2.15"}
    assert [entry["address"] for entry in one["ipv4_secondaries"]] == ["192.0.2.9"]
    own = {"address": "2001:db8::7", "prefix": "64", "scope": "global"}
    assert own in one["ipv6"]
    assert set(network["all_ipv4_addresses"]) == {"10.9.9.9", "192.0.2.7", "192.0.2.9"}
    assert "2001:db8::7" in network["all_ipv6_addresses"]
    assert "::1" not in network["all_ipv6_addresses"]


def test_interfaces(network: dict[str, Any]) -> None:
    assert set(network["interfaces"]) == {"lo", "one", "end", "v0", "v1", "br-0"}
    one, lo = network["one"], network["lo"]
    assert (one["macaddress"], one["mtu"], one["type"]) == ("02:00:00:00:00:01", 1400, "ether")
    assert one["active"] and not one["promisc"]
    assert lo["type"] == "loopback" and "macaddress" not in lo
    assert network["br_0"]["type"] == "bridge" and network["br_0"]["interfaces"] == ["v0"]
    assert not network["br_0"]["active"]
    assert "v0" not in network, "an end of a container's network is no fact of its own"


def test_default_route(network: dict[str, Any]) -> None:
    default = network["default_ipv4"]
    assert (default["interface"], default["gateway"]) == ("one", "192.0.2.1")
    assert default["address"] == "192.0.2.7" and default["netmask"] == "255.255.255.240"
    assert default["macaddress"] == "02:00:00:00:00:01" and default["mtu"] == 1400
    assert network["default_ipv6"] == {}


def test_our_own_network_is_that_of_ip() -> None:
    said = json.loads(subprocess.run(["ip", "-j", "addr"], capture_output=True, check=True).stdout)
    found = netfacts.gather()
    assert "lo" in found["interfaces"] and found["lo"]["ipv4"]["netmask"] == "255.0.0.0"
    assert {link["ifname"] for link in said} & set(found["interfaces"])


def test_hardware() -> None:
    processor = hardwarefacts.processor()
    threads = processor["processor_count"] * processor["processor_cores"]
    assert threads * processor["processor_threads_per_core"] >= 1
    assert processor["processor_vcpus"] == os.cpu_count()
    assert processor["processor"][0] == "0"
    memory = hardwarefacts.memory()
    real = memory["memory_mb"]["real"]
    assert real["total"] == real["used"] + real["free"] == memory["memtotal_mb"]
    assert set(hardwarefacts.firmware()) >= {"system_vendor", "product_name", "bios_version"}


def test_mounts() -> None:
    for mount in hardwarefacts.mounts()["mounts"]:
        assert mount["device"].startswith("/") or ":/" in mount["device"]
        if "size_total" in mount:
            disk = os.statvfs(mount["mount"])
            assert mount["size_total"] == disk.f_frsize * disk.f_blocks
    assert hardwarefacts._plain(r"/mnt/a\040b") == "/mnt/a b"


def test_devices() -> None:
    for name, disk in hardwarefacts.devices()["devices"].items():
        size = int(Path(f"/sys/block/{name}/size").read_text()) * 512
        assert disk["sectors"] * int(disk["sectorsize"]) == size
        assert disk["size"] == hardwarefacts.human(size)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0.00 Bytes"), (1536, "1.50 KB"), (1 << 38, "256.00 GB"), (1 << 60, "1024.00 PB")],
)
def test_human_sizes(size: int, text: str) -> None:
    assert hardwarefacts.human(size) == text


def test_all_of_it() -> None:
    found = facts.gather()
    stamp = found["ansible_date_time"]
    assert stamp["date"] == time.strftime("%Y-%m-%d") and stamp["tz_offset"]
    assert found["ansible_python"]["version"]["major"] == 3
    assert found["ansible_python"]["executable"] == sys.executable
    assert found["ansible_user_shell"] and found["ansible_effective_user_id"] == os.geteuid()
    assert found["ansible_virtualization_role"] in ("guest", "host", "NA")
    assert found["ansible_selinux"]["status"] in ("enabled", "disabled")
    words = Path("/proc/cmdline").read_text().split()
    assert set(found["ansible_cmdline"]) == {word.partition("=")[0] for word in words}
    assert len(json.dumps(found)) < 200_000, "they are sent at every start"
    names = "lsb dns apparmor mounts devices interfaces default_ipv4 processor_cores domain"
    assert {f"ansible_{name}" for name in names.split()} <= set(found)


def test_a_secret_of_the_environment_is_no_fact(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_TOKEN", "geheim")
    assert "geheim" not in json.dumps(facts.gather())


@pytest.mark.parametrize(
    ("hosts", "name"),
    [
        ("127.0.1.1 box.example.org box\n", "box.example.org"),
        ("127.0.0.1 localhost\n127.0.0.1 box # x\n", "localhost"),
        ("", "box"),
    ],
)
def test_full_name(monkeypatch: pytest.MonkeyPatch, hosts: str, name: str) -> None:
    monkeypatch.setattr(facts, "read", lambda path: hosts)
    assert facts._fqdn("box") == name
