"""A worker's place on the gateway host: its own reverse address and its one restricted key.

Not of Ansible. Arguments: `worker, public_key, state, addresses, address, permit_open, user,
authorized_keys, state_file, interface`. Returns `address`: the one asked for, or a free one.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import os
import pwd
import re
import signal
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

from provisioner.remote import process, statefile
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "worker": Argument("str", required=True, aliases=("name",)),
    "public_key": Argument("str"),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "addresses": Argument("str", default="10.199.0.0/24"),
    "address": Argument("str", default=""),
    "permit_open": Argument("list", default=("127.0.0.1:31994",)),
    "user": Argument("str", default="b9tunnel"),
    "authorized_keys": Argument("str", default="/etc/b9prov/authorized_keys"),
    "state_file": Argument("str", default="/var/lib/b9prov/slots.json"),
    "interface": Argument("str", default="lo"),
}
PORT = 6443  # the gateway dials no other
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa")
WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
TARGET = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
NEW_KEY = "(new key)"
LOOPBACK = ("127.0.0.1", "localhost")
KEYS_MODE = 0o644  # sshd reads the file as the tunnel user
END_WAIT = 5.0
IP_TIMEOUT = 30.0


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Give the worker its slot, or take it away and cut the worker off."""
    if not WORKER.fullmatch(arguments["worker"]):
        raise ModuleFailed(f"{arguments['worker']!r} is no name for a worker")
    path = Path(arguments["state_file"])
    if arguments["state"] == "absent" and not path.exists():
        return {"changed": False, "address": ""}
    with (
        nullcontext() if context.check else statefile.locked(path, f"slot of {arguments['worker']}")
    ):
        slot = Slot(arguments, context.check)
        address = slot.present() if arguments["state"] == "present" else slot.absent()
    result: Result = {"changed": slot.changed, "address": address}
    if context.diff:
        after = "".join(f"{line}\n" for line in slot.lines)
        result["diff"] = {"before": slot.before, "after": after, "path": str(slot.keys_file)}
    return result


class Slot:
    """One run of the module, under the lock."""

    def __init__(self, arguments: dict[str, Any], check: bool) -> None:
        self.worker: str = arguments["worker"]
        self.arguments = arguments
        self.check = check
        self.changed = False
        self.interface: str = arguments["interface"]
        self.keys_file = Path(arguments["authorized_keys"])
        self.state_file = Path(arguments["state_file"])
        self.state = statefile.load(self.state_file)
        self.slots: dict[str, dict[str, str]] = self.state.setdefault("slots", {})
        self.before = self.keys_file.read_text() if self.keys_file.exists() else ""
        self.lines = self.before.splitlines()

    def present(self) -> str:
        """Entry, address, key, in this order: each step is safe to be the last."""
        text = (self.arguments["public_key"] or "").strip()
        # a check of a new worker comes before there is a key
        key = NEW_KEY if self.check and not text else public_key(text)
        targets = permitted(self.arguments["permit_open"])
        self._refuse_shared_key(key)
        old = self.slots.get(self.worker, {})
        address = self._allocate(old.get("address", ""))
        moved = bool(old) and old["address"] != address
        if old != {"address": address, "key": key}:
            self.changed = True
            self.slots[self.worker] = {"address": address, "key": key}
            self._save()
        self._add_address(address)
        self._write_keys([*self._others(), key_line(self.worker, key, address, targets)])
        if old and (moved or old["key"] != key):  # the old key's session would hold the port
            self._end_sessions(old["address"])
        if moved:
            self._remove_address(old["address"])
        return address

    def absent(self) -> str:
        """The key goes first, so that nothing comes back once the session is ended."""
        address = self.slots.get(self.worker, {}).get("address", "")
        self._write_keys(self._others())
        if address:
            self._end_sessions(address)
            self._remove_address(address)
            self.changed = True
            del self.slots[self.worker]
            self._save()
        return address

    # -- the entry -------------------------------------------------------------------------

    def _allocate(self, old: str) -> str:
        pool = address_pool(self.arguments["addresses"])
        wanted = self.arguments["address"]
        if wanted:
            return self._unless_taken(wanted)
        if old and ipaddress.IPv4Address(old) in pool:
            return old
        taken = {slot["address"] for slot in self.slots.values()} | self._addresses()
        free = (str(each) for each in pool.hosts() if each.packed[3] not in (0, 255))
        for address in free:
            if address not in taken:
                return address
        raise ModuleFailed(
            f"no free address is left in {pool} ({len(self.slots)} workers)",
            advice="remove workers with `down`, or give gateway.addresses a larger network",
        )

    def _unless_taken(self, address: str) -> str:
        for worker, slot in self.slots.items():
            if worker != self.worker and slot["address"] == address:
                raise ModuleFailed(
                    f"{address} is the address of worker {worker} on this gateway host",
                    advice="hosts of one gateway give addresses from one pool:"
                    " give each inventory a gateway.addresses of its own",
                )
        return address

    def _refuse_shared_key(self, key: str) -> None:
        for worker, slot in self.slots.items():
            if worker != self.worker and slot["key"] == key:
                raise ModuleFailed(
                    f"worker {worker} has the same tunnel key as {self.worker}",
                    advice="two names for one host, or a cloned disk: remove /etc/b9prov/tunnel"
                    f" on {self.worker} and run again",
                )

    def _save(self) -> None:
        if not self.check:
            statefile.save(self.state_file, self.state, 0o644)

    # -- the key ---------------------------------------------------------------------------

    def _others(self) -> list[str]:
        return [line for line in self.lines if not line.endswith(f" b9prov:{self.worker}")]

    def _write_keys(self, lines: list[str]) -> None:
        wrong_mode = self.before and (self.keys_file.stat().st_mode & 0o777) != KEYS_MODE
        if sorted(lines) == sorted(self.lines) and not wrong_mode:
            return
        self.changed = True
        self.lines = lines
        if not self.check:
            statefile.replace(self.keys_file, "".join(f"{line}\n" for line in lines), KEYS_MODE)

    # -- the address -----------------------------------------------------------------------

    def _addresses(self, interface: str = "") -> set[str]:
        shown = ip("-json", "-4", "address", "show", *(("dev", interface) if interface else ()))
        links = json.loads(shown or "[]")
        return {each["local"] for link in links for each in link.get("addr_info", ())}

    def _add_address(self, address: str) -> None:
        if address in self._addresses(self.interface):
            return
        self.changed = True
        if not self.check:
            ip("address", "add", f"{address}/32", "dev", self.interface)

    def _remove_address(self, address: str) -> None:
        if address in self._addresses(self.interface) and not self.check:
            ip("address", "delete", f"{address}/32", "dev", self.interface)

    # -- the session -----------------------------------------------------------------------

    def _end_sessions(self, address: str) -> None:
        """End the sshd that listens at the address for the worker, and nothing else."""
        if self.check:
            return
        try:
            uid = pwd.getpwnam(self.arguments["user"]).pw_uid
        except KeyError:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            listeners = [pid for pid in listening(address, PORT) if is_sshd(pid, uid)]
            for pid in listeners:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            if not listeners or _ended(listeners):
                return


def public_key(text: str) -> str:
    """Type and body of an OpenSSH public key, checked; the comment is dropped."""
    parts = text.strip().split(" ")
    if len(parts) < 2 or len(text.strip().splitlines()) != 1 or parts[0] not in KEY_TYPES:
        raise ModuleFailed("public_key is no OpenSSH public key", advice="one line: TYPE BASE64")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    fields = key_fields(blob)
    if len(fields) < 2 or fields[0] != parts[0].encode():
        raise ModuleFailed("public_key is damaged: its body does not match its type")
    return f"{parts[0]} {parts[1]}"


def key_fields(blob: bytes) -> list[bytes]:
    """The length-prefixed fields of a key; none when they don't fill it exactly."""
    fields = []
    while blob:
        size = int.from_bytes(blob[:4], "big")
        if len(blob) < 4 + size:
            return []
        fields.append(blob[4 : 4 + size])
        blob = blob[4 + size :]
    return fields


def permitted(targets: list[str]) -> list[str]:
    """The targets, checked; loopback under both names, since ssh asks by the literal one."""
    result: list[str] = []
    for target in targets:
        match = TARGET.fullmatch(str(target))
        if not match or not 0 < int(match[1]) < 65536:
            raise ModuleFailed(f"permit_open: {target!r} is not HOST:PORT")
        host = target.rpartition(":")[0]
        names = LOOPBACK if host in LOOPBACK else (host,)
        result += [f"{name}:{match[1]}" for name in names]
    return list(dict.fromkeys(result))


def key_line(worker: str, key: str, address: str, targets: list[str]) -> str:
    """The worker's line: forwards to the targets and to itself, one listener, and that freed."""
    opens = [f'permitopen="{target}"' for target in (*targets, f"{address}:{PORT}")]
    listen = f'permitlisten="{address}:{PORT}"'
    command = f'command="free {address}"'  # all that the tunnel user's shell understands
    options = ",".join(["restrict", "port-forwarding", *opens, listen, command])
    return f"{options} {key} b9prov:{worker}"


def address_pool(text: str) -> ipaddress.IPv4Network:
    """The CIDR that slots come from."""
    try:
        return ipaddress.IPv4Network(text)
    except ValueError as error:
        raise ModuleFailed(
            f"addresses: {error}", advice="an IPv4 network such as 10.199.0.0/24"
        ) from None


def ip(*arguments: str) -> str:
    """Run iproute2."""
    done = process.run(["ip", *arguments], timeout=IP_TIMEOUT)
    if done.rc:
        advice = "install iproute2" if done.rc == 127 else ""
        raise ModuleFailed(f"ip {' '.join(arguments)}: {done.said}", advice=advice)
    return done.stdout


def listening(address: str, port: int) -> Iterator[int]:
    """Process ids that hold a listening socket at exactly this address and port."""
    number = struct.unpack("=I", socket.inet_aton(address))[0]
    local, inodes = f"{number:08X}:{port:04X}", set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1] == local and fields[3] == "0A":
            inodes.add(f"socket:[{fields[9]}]")
    for each in Path("/proc").iterdir():
        if inodes and each.name.isdigit() and inodes & open_files(int(each.name)):
            yield int(each.name)


def open_files(pid: int) -> set[str]:
    """What the process's descriptors point to; nothing for one that has ended."""
    found = set()
    with suppress(OSError):
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                found.add(str(descriptor.readlink()))
    return found


def is_sshd(pid: int, uid: int) -> bool:
    """Whether this is a session of sshd (sshd-session in newer ones) for that user."""
    with suppress(OSError):
        # not the owner of /proc/PID: sshd's sessions are not dumpable, so that is root
        status = Path(f"/proc/{pid}/status").read_text()
        fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        return fields["Name"].strip().startswith("sshd") and fields["Uid"].split()[0] == str(uid)
    return False


def _ended(pids: list[int]) -> bool:
    """Wait for processes that are not ours to wait for: only looking again tells."""
    deadline = time.monotonic() + END_WAIT
    while any(open_files(pid) for pid in pids):
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.05)
    return True
