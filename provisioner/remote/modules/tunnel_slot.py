"""A worker's place on the gateway host: its own reverse address and its one restricted key.

Not of Ansible. Arguments: `worker, public_key, next_key, state, addresses, address, permit_open,
user, by, authorized_keys, state_file, audit_log, interface`. Returns `address`: the one asked for,
or a free one.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from provisioner.remote import auditlog, process, statefile, tunnelsessions
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.tunnelsessions import PORT

STATES = ("present", "absent", "revoked", "restored")
ARGUMENTS = {
    "worker": Argument("str", required=True, aliases=("name",)),
    "public_key": Argument("str"),
    "next_key": Argument("str"),
    "state": Argument("str", default="present", choices=STATES),
    "addresses": Argument("str", default="10.199.0.0/24"),
    "address": Argument("str", default=""),
    "permit_open": Argument("list", default=("127.0.0.1:31994",)),
    "user": Argument("str", default="b9tunnel"),
    "by": Argument("str", default=""),
    "authorized_keys": Argument("str", default="/etc/b9prov/authorized_keys"),
    "state_file": Argument("str", default="/var/lib/b9prov/slots.json"),
    "audit_log": Argument("str", default=auditlog.PATH),
    "interface": Argument("str", default="lo"),
}
KEY_TYPES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ssh-rsa")
WORKER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
TARGET = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9.-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")
NEW_KEY = "(new key)"
LOOPBACK = ("127.0.0.1", "localhost")
KEYS_MODE = 0o644  # sshd reads the file as the tunnel user
CONNECTING = 5.0  # seconds in which another worker's new session may not listen yet
IP_TIMEOUT = 30.0


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Give the worker its slot, take it away and cut the worker off, or only cut it off."""
    if not WORKER.fullmatch(arguments["worker"]):
        raise ModuleFailed(f"{arguments['worker']!r} is no name for a worker")
    path = Path(arguments["state_file"])
    if arguments["state"] == "absent" and not path.exists():
        return {"changed": False, "address": ""}
    with (
        nullcontext() if context.check else statefile.locked(path, f"slot of {arguments['worker']}")
    ):
        slot = Slot(arguments, context.check)
        try:
            address = getattr(slot, arguments["state"])()
        except ModuleFailed as error:
            slot.done.append(f"failed: {error}")
            raise
        finally:
            warnings = slot.audit()
    result: Result = {"changed": slot.changed, "address": address, "warnings": warnings}
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
        self.done: list[str] = []  # what the audit log is told
        self.interface: str = arguments["interface"]
        self.keys_file = Path(arguments["authorized_keys"])
        self.state_file = Path(arguments["state_file"])
        self.state = statefile.load(self.state_file)
        self.slots: dict[str, dict[str, Any]] = self.state.setdefault("slots", {})
        self.old = dict(self.slots.get(self.worker, {}))
        self.before = self.keys_file.read_text() if self.keys_file.exists() else ""
        self.lines = self.before.splitlines()

    def present(self) -> str:
        """Entry, address, key, in this order: each step is safe to be the last."""
        self._refuse_revoked()
        text = (self.arguments["public_key"] or "").strip()
        # a check of a new worker comes before there is a key
        key = NEW_KEY if self.check and not text else public_key(text)
        return self._place(key)

    def restored(self) -> str:
        """Let a revoked worker in again, with the key and the address that it had."""
        self._refuse_unknown()
        if "revoked" in self.old:
            self.done.append("restored")
        return self._place(self.old["key"])

    def revoked(self) -> str:
        """Cut the worker off, and keep its address from others. The key goes first, so that
        nothing comes back once the sessions are ended."""
        self._refuse_unknown()
        if "revoked" not in self.old:
            mark = {"at": int(time.time()), "by": self.arguments["by"]}
            self._enter({**self._entry(), "revoked": mark})
            self.done.append("revoked")
        self._write_keys(self._others())
        self._end_strays(grace=0)
        return str(self.old["address"])

    def absent(self) -> str:
        """The key goes first here too."""
        address = str(self.old.get("address", ""))
        if address:
            self.done.append("removed")
        self._write_keys(self._others())
        if address:
            self._end_strays(grace=0)
            self._remove_address(address)
            self._enter(None)
        return address

    def audit(self) -> list[str]:
        """Have the audit log know; what is to be told of that."""
        if self.check or not self.done:
            return []
        entry = self.slots.get(self.worker, self.old)
        said = [
            auditlog.note(
                Path(self.arguments["audit_log"]),
                {
                    "action": action,
                    "worker": self.worker,
                    "address": entry.get("address", ""),
                    "key": tunnelsessions.fingerprint(entry.get("key", "")),
                    "by": self.arguments["by"],
                },
            )
            for action in self.done
        ]
        return [each for each in said if each]

    # -- the entry -------------------------------------------------------------------------

    def _place(self, key: str) -> str:
        targets = permitted(self.arguments["permit_open"])
        following = self.arguments["next_key"]
        keys = [key, *([public_key(following)] if following else [])]
        for each in keys:
            self._refuse_shared_key(each)
        address = self._allocate(self.old.get("address", ""))
        moved = bool(self.old) and self.old["address"] != address
        both = dict(zip(("key", "next_key"), keys))  # noqa: B905 (Python 3.9)
        self._enter({**self._entry(), "address": address, **both})
        self._add_address(address)
        lines = [key_line(self.worker, each, address, targets) for each in keys]
        self._write_keys([*self._others(), *lines])
        if moved:
            self._end_listeners(self.old["address"])
            self._remove_address(self.old["address"])
        elif self._keys_of(self.old) - set(keys):  # a session of such a one would hold the port
            self._end_strays(CONNECTING)
        return address

    def _entry(self) -> dict[str, Any]:
        """The lasting part of the entry, or the beginnings of a new one."""
        passing = ("next_key", "revoked")
        kept = {name: value for name, value in self.old.items() if name not in passing}
        return kept or {"owner": self.arguments["by"], "created": int(time.time())}

    def _enter(self, entry: dict[str, Any] | None) -> None:
        """Write the worker's entry where it is another; None takes it out."""
        if entry == (self.old or None):
            return
        self.changed = True
        if entry is None:
            del self.slots[self.worker]
        else:
            self._note_change(entry)
            self.slots[self.worker] = entry
        if not self.check:
            statefile.save(self.state_file, self.state, 0o644)

    def _note_change(self, entry: dict[str, Any]) -> None:
        if not self.old:
            self.done.append("slot given")
        elif entry["address"] != self.old["address"]:
            self.done.append(f"moved from {self.old['address']}")
        if self.old and entry["key"] != self.old["key"]:
            self.done.append("key changed")
        elif entry.get("next_key", "") not in self._keys_of(self.old) | {""}:
            self.done.append("second key allowed")

    def _allocate(self, old: str) -> str:
        pool = address_pool(self.arguments["addresses"])
        if self.arguments["address"]:
            return self._unless_taken(self.arguments["address"])
        if old and (ipaddress.IPv4Address(old) in pool or self.arguments["state"] == "restored"):
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
            if worker != self.worker and key in self._keys_of(slot):
                raise ModuleFailed(
                    f"worker {worker} has the same tunnel key as {self.worker}",
                    advice="two names for one host, or a cloned disk: remove /etc/b9prov/tunnel"
                    f" on {self.worker} and run again",
                )

    def _refuse_revoked(self) -> None:
        if mark := self.old.get("revoked"):
            at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(mark["at"]))
            who = f" by {mark['by']}" if mark["by"] else ""
            raise ModuleFailed(
                f"worker {self.worker} was revoked on {at}{who}",
                advice=f"`b9prov gateway restore INVENTORY {self.worker}` lets it in again,"
                " `b9prov down` takes it out for good",
            )

    def _refuse_unknown(self) -> None:
        if not self.old:
            known = ", ".join(sorted(self.slots)) or "none"
            raise ModuleFailed(
                f"no worker {self.worker} has an address here", advice=f"there are: {known}"
            )

    @staticmethod
    def _keys_of(entry: dict[str, Any]) -> set[str]:
        return {entry[name] for name in ("key", "next_key") if name in entry}

    # -- the key ---------------------------------------------------------------------------

    def _others(self) -> list[str]:
        return [line for line in self.lines if not line.endswith(f" b9prov:{self.worker}")]

    def _write_keys(self, lines: list[str]) -> None:
        wrong_mode = self.before and (self.keys_file.stat().st_mode & 0o777) != KEYS_MODE
        if sorted(lines) == sorted(self.lines) and not wrong_mode:
            return
        self.changed = True
        self.done = self.done or ["line rewritten"]
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

    # -- the sessions ----------------------------------------------------------------------

    def _end_listeners(self, address: str) -> None:
        if not self.check:
            tunnelsessions.end_listeners(self.arguments["user"], address)

    def _end_strays(self, grace: float) -> None:
        """End all sessions whose key is not in the file any more."""
        if self.check:
            return
        keys = {tunnelsessions.fingerprint(line) for line in self.lines} - {""}
        others = {
            slot["address"]
            for worker, slot in self.slots.items()
            if worker != self.worker and "revoked" not in slot
        }
        tunnelsessions.end_strays(self.arguments["user"], keys, others, grace)


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
