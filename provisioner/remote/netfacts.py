"""Facts of the network, asked of the kernel over netlink: no program, three round trips."""

from __future__ import annotations

import ipaddress
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any

_NEW_LINK, _GET_LINK = 16, 18
_NEW_ADDRESS, _GET_ADDRESS = 20, 22
_NEW_ROUTE, _GET_ROUTE = 24, 26
_REQUEST, _DUMP = 0x1, 0x300
_DONE, _ERROR = 3, 2

_IFLA_ADDRESS, _IFLA_NAME, _IFLA_MTU, _IFLA_MASTER, _IFLA_STATE, _IFLA_INFO = 1, 3, 4, 10, 16, 18
_IFA_ADDRESS, _IFA_LOCAL, _IFA_LABEL, _IFA_BROADCAST = 1, 2, 3, 4
_RTA_OIF, _RTA_GATEWAY, _RTA_SOURCE = 4, 5, 7

_PROMISCUOUS = 0x100
_DOWN = 2
_TYPES = {1: "ether", 32: "infiniband", 512: "ppp", 772: "loopback", 65534: "tunnel"}
_KINDS = {"bridge": "bridge", "bond": "bonding"}
_SCOPES = {0: "global", 200: "site", 253: "link", 254: "host"}
_OUTSIDE: dict[int, str] = {
    socket.AF_INET: "8.8.8.8",
    socket.AF_INET6: "2404:6800:400a:800::1012",
}
"""Addresses that only the default route leads to; nothing is sent to them."""

Facts = dict[str, Any]
_Attributes = dict[int, bytes]


def gather() -> Facts:
    """`interfaces`, one fact for each, all addresses and the default route's."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.settimeout(2)
        kernel.bind((0, 0))
        links = dict(_links(kernel))
        _add_addresses(kernel, links)
        facts: Facts = {
            "default_ipv4": _default(kernel, links, socket.AF_INET),
            "default_ipv6": _default(kernel, links, socket.AF_INET6),
        }
    by_name = {link["device"]: link for link in links.values()}
    facts["interfaces"] = list(by_name)
    for version, own in ((4, "127."), (6, "::1")):
        every = [a["address"] for link in by_name.values() for a in _addresses(link, version)]
        facts[f"all_ipv{version}_addresses"] = [a for a in every if not a.startswith(own)]
    for name, link in by_name.items():
        # of the hundreds of a host's containers nobody asks
        if link.pop("kind") != "veth" or "ipv4" in link:
            facts[name.replace("-", "_")] = link
    return facts


def _addresses(link: Facts, version: int) -> list[Facts]:
    if version == 6:
        return list(link.get("ipv6", []))
    return [*([link["ipv4"]] if "ipv4" in link else []), *link.get("ipv4_secondaries", [])]


def _ask(kernel: socket.socket, kind: int, flags: int, body: bytes) -> Iterator[tuple[int, bytes]]:
    """Send one request; yields the kind and the body of each message of the answer."""
    kernel.send(struct.pack("=IHHII", 16 + len(body), kind, _REQUEST | flags, 1, 0) + body)
    while True:
        data = kernel.recv(1 << 18)
        while len(data) >= 16:
            length, answer = struct.unpack_from("=IH", data)
            if answer in (_DONE, _ERROR):
                return
            yield answer, data[16:length]
            data = data[length + 3 & ~3 :]
        if not flags & _DUMP:
            return


def _attributes(data: bytes) -> _Attributes:
    found = {}
    while len(data) >= 4:
        length, kind = struct.unpack_from("=HH", data)
        if length < 4:
            break
        found[kind & 0x3FFF] = data[4:length]
        data = data[length + 3 & ~3 :]
    return found


def _links(kernel: socket.socket) -> Iterator[tuple[int, Facts]]:
    """Every interface by its number, as Ansible's fact of it."""
    members: dict[int, list[str]] = {}
    links: dict[int, tuple[str, Facts]] = {}
    for kind, body in _ask(kernel, _GET_LINK, _DUMP, struct.pack("=BxHiII", 0, 0, 0, 0, 0)):
        if kind != _NEW_LINK:
            continue
        hardware, index, flags = struct.unpack_from("=xxHiI", body)
        found = _attributes(body[16:])
        name = _text(found[_IFLA_NAME])
        info = _attributes(found.get(_IFLA_INFO, b""))
        driver = _text(info.get(1, b""))
        link: Facts = {"device": name, "kind": driver}
        link["active"] = found.get(_IFLA_STATE, b"\0")[0] != _DOWN
        link["type"] = _KINDS.get(driver) or _TYPES.get(hardware, "unknown")
        link["mtu"] = struct.unpack("=I", found[_IFLA_MTU])[0]
        link["promisc"] = bool(flags & _PROMISCUOUS)
        if any(found.get(_IFLA_ADDRESS, b"")):
            link["macaddress"] = found[_IFLA_ADDRESS].hex(":")
        if _IFLA_MASTER in found:
            members.setdefault(struct.unpack("=I", found[_IFLA_MASTER])[0], []).append(name)
        links[index] = driver, link
    for index, (driver, link) in links.items():
        if driver in _KINDS:
            link["interfaces" if driver == "bridge" else "slaves"] = members.get(index, [])
        yield index, link


def _add_addresses(kernel: socket.socket, links: dict[int, Facts]) -> None:
    for kind, body in _ask(kernel, _GET_ADDRESS, _DUMP, struct.pack("=BBBBI", 0, 0, 0, 0, 0)):
        if kind != _NEW_ADDRESS:
            continue
        family, prefix, _, scope, index = struct.unpack_from("=BBBBI", body)
        link, found = links.get(index), _attributes(body[8:])
        own = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if link is None or own is None:
            continue
        address = socket.inet_ntop(family, own)
        if family == socket.AF_INET6:
            entry = {"address": address, "prefix": str(prefix), "scope": _SCOPES.get(scope, "")}
            link.setdefault("ipv6", []).append(entry)
            continue
        entry = _ipv4(address, prefix, found)
        if "ipv4" in link:
            link.setdefault("ipv4_secondaries", []).append(entry)
        else:
            link["ipv4"] = entry


def _ipv4(address: str, prefix: int, found: _Attributes) -> Facts:
    network = ipaddress.IPv4Network((address, prefix), strict=False)
    broadcast = found.get(_IFA_BROADCAST)
    return {
        "address": address,
        "broadcast": socket.inet_ntop(socket.AF_INET, broadcast) if broadcast else "",
        "netmask": str(network.netmask),
        "network": str(network.network_address),
        "prefix": str(prefix),
    }


def _default(kernel: socket.socket, links: dict[int, Facts], family: int) -> Facts:
    """Interface, gateway and own address on the way out; empty where there is none."""
    target = socket.inet_pton(family, _OUTSIDE[family])
    header = struct.pack("=BBBBBBBBI", family, 8 * len(target), 0, 0, 0, 0, 0, 0, 0)
    body = header + struct.pack("=HH", 4 + len(target), 1) + target
    for kind, answer in _ask(kernel, _GET_ROUTE, 0, body):
        found = _attributes(answer[12:])
        if kind == _NEW_ROUTE and _RTA_OIF in found:
            link = links.get(struct.unpack("=I", found[_RTA_OIF])[0])
            return _way_out(link, found, family) if link else {}
    return {}


def _way_out(link: Facts, found: _Attributes, family: int) -> Facts:
    facts: Facts = {"interface": link["device"]}
    for name, kind in (("gateway", _RTA_GATEWAY), ("address", _RTA_SOURCE)):
        if kind in found:
            facts[name] = socket.inet_ntop(family, found[kind])
    facts.update({name: link[name] for name in ("macaddress", "mtu", "type") if name in link})
    version = 4 if family == socket.AF_INET else 6
    for entry in _addresses(link, version):
        if entry["address"] == facts.get("address"):
            facts.update(entry)
            if version == 4:
                facts["alias"] = link["device"]
    return facts


def _text(data: bytes) -> str:
    return os.fsdecode(data.rstrip(b"\0"))
