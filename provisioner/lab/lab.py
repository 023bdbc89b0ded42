"""A lab: real Debian hosts on a bridge of this machine, one of them a gateway host."""

from __future__ import annotations

import json
import re
import secrets
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from provisioner import paths
from provisioner.artifacts import mirror
from provisioner.lab import cgroups, files, gateway_host
from provisioner.lab.host import Host
from provisioner.lab.inventory import inventory_text
from provisioner.lab.machine import (
    LabError,
    allow_inotify,
    locked,
    remove_tree,
    require_machine,
    write_file,
)
from provisioner.lab.network import Network, free_number, wait_listening
from provisioner.lab.processes import Process, launch
from provisioner.lab.rootfs import ensure_rootfs, remove_unused

GATEWAY = "gateway"
_LOCK_SECONDS = 120.0
_AT_ONCE = 8

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Lab:
    """A lab as its state file has it; its hosts may be on or off."""

    name: str
    number: int
    pool: str
    rootfs: Path
    workers: int
    artifacts: str = "light"

    @classmethod
    def load(cls, name: str = "default") -> Lab:
        """The lab of that name; a LabError when there is none."""
        _check_name(name)
        try:
            data = json.loads(_state_file(name).read_text())
        except FileNotFoundError:
            raise LabError(f"there is no lab {name}", f"b9prov lab up --name {name}") from None
        return cls(**{**data, "rootfs": Path(data["rootfs"])})

    @property
    def directory(self) -> Path:
        """Where everything of the lab is."""
        return _labs_dir() / self.name

    @property
    def network(self) -> Network:
        """The lab's bridge and addresses."""
        return Network(self.number)

    @property
    def gateway(self) -> Host:
        """The gateway host."""
        return self._host(GATEWAY, self.network.gateway)

    @property
    def worker_hosts(self) -> list[Host]:
        """The hosts w1, w2, …"""
        indices = range(1, self.workers + 1)
        return [self._host(f"w{index}", self.network.worker(index)) for index in indices]

    @property
    def hosts(self) -> list[Host]:
        """All hosts, the gateway first."""
        return [self.gateway, *self.worker_hosts]

    def host(self, name: str) -> Host:
        """The host of that name."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise LabError(f"lab {self.name} has no host {name}")

    @property
    def inventory_path(self) -> Path:
        """The inventory of the lab's hosts."""
        return self.directory / "inventory.yaml"

    @property
    def identity_file(self) -> Path:
        """The private key that logs in to every host."""
        return self.directory / "id_ed25519"

    @property
    def admin_token_path(self) -> Path:
        """The file with the reference gateway's admin token."""
        return self.directory / "admin_token"

    @property
    def artifacts_dir(self) -> Path:
        """The directory that the mirror serves."""
        return artifacts_dir(self.artifacts)

    @property
    def mirror_url(self) -> str:
        """The artifact mirror, as hosts reach it."""
        return f"http://{self.network.controller}:{mirror.PORT}"

    def reset(self, host: Host) -> None:
        """Bring one host back to the state of a new one, and wait until it is ready."""
        host.wipe()
        self._prepare(host)
        host.start()
        if host.name == GATEWAY:
            self.wait_gateway()

    def wait_gateway(self) -> None:
        """Wait until the reference gateway answers, as after the gateway host's reboot."""
        gateway_host.wait_gateway(self.gateway)

    def reset_all(self) -> None:
        """Bring all hosts back to the state of new ones, at once."""
        _each(self.hosts, self.reset)

    def _prepare(self, host: Host) -> None:
        """Make what the host lacks; a running gateway takes up a changed reference gateway."""
        host.create()
        if host.name == GATEWAY:
            token = self.admin_token_path.read_text().strip()
            changed = gateway_host.write_gateway(host, token, self.pool)
            if changed and host.running():
                gateway_host.restart_gateway(host)

    def _host(self, name: str, address: str) -> Host:
        return Host(
            name=name,
            address=address,
            machine=f"b9lab{self.number}-{name}",
            directory=self.directory / "hosts" / name,
            rootfs=self.rootfs,
            network=self.network,
            authorized_key=files.public_key(self.identity_file),
        )

    def _save(self) -> None:
        data = {**self.__dict__, "rootfs": str(self.rootfs)}
        write_file(_state_file(self.name), json.dumps(data, indent=2) + "\n")


def lab_up(
    name: str = "default",
    workers: int = 3,
    *,
    progress: Progress,
    pool: str = "gpu",
    artifacts: str = "light",
) -> Lab:
    """Bring a lab up, with at least so many workers; what is there already stays as it is.

    `artifacts` says what its mirror serves, `light` or `real`.
    """
    require_machine()
    allow_inotify(progress)
    _check_name(name)
    rootfs = ensure_rootfs(progress)
    with _lab_lock(name):
        lab = _planned(Lab(name, 0, pool, rootfs, workers, artifacts))
        remove_unused({other.rootfs for other in _labs()})
        lab.network.up()
        _ensure_mirror(lab)
        _each(lab.hosts, lab._prepare)
        write_file(lab.inventory_path, inventory_text(lab))
        off = [host for host in lab.hosts if not host.running()]
        for host in off:
            progress(f"booting {host.name} ({host.address})")
        _each(lab.hosts, Host.start)
        lab.wait_gateway()
        return lab


def lab_down(name: str = "default", *, progress: Progress = lambda _: None) -> bool:
    """Power everything off and leave nothing; whether there was such a lab."""
    _check_name(name)
    require_machine()
    with _lab_lock(name):
        try:
            lab = Lab.load(name)
        except LabError:
            # All that a `lab_up` can have left before its first host is files.
            remove_tree(_labs_dir() / name)
            return False
        progress(f"taking lab {name} down")
        _each(lab.hosts, Host.destroy)
        _end_mirror(lab)
        lab.network.down()
        remove_tree(lab.directory)
        return True


def lab_status(name: str = "default") -> list[dict[str, Any]]:
    """Each host's name, address, state, and when it runs its uptime and memory in bytes."""
    return [_status(host) for host in Lab.load(name).hosts]


def lab_names() -> list[str]:
    """The labs that there are."""
    return sorted(path.parent.name for path in _labs_dir().glob("*/lab.json"))


def artifacts_dir(kind: str = "light") -> Path:
    """What the mirrors of labs serve: `light` stand-ins, or programs built from `real` sources."""
    return paths.cache_dir() / "lab" / f"artifacts-{kind}"


def _status(host: Host) -> dict[str, Any]:
    leader = host.leader()
    row: dict[str, Any] = {"name": host.name, "address": host.address}
    if leader is None:
        return {**row, "state": "off"}
    return {**row, "state": "on", "seconds": leader.seconds(), "memory": host.memory()}


def _planned(wanted: Lab) -> Lab:
    """The lab as it is to be, with its keys, saved before any host of it is made."""
    name = wanted.name
    with locked(_labs_dir() / ".numbers.lock", seconds=_LOCK_SECONDS):
        try:
            lab = Lab.load(name)
            if not lab.rootfs.is_dir():
                raise LabError(
                    f"lab {name} has lost its root file system", f"b9prov lab down {name}"
                )
            workers = max(wanted.workers, lab.workers)
            lab = replace(lab, workers=workers, artifacts=wanted.artifacts)
        except LabError:
            if _state_file(name).exists():
                raise
            lab = replace(wanted, number=free_number({lab.number for lab in _labs()}))
        lab.network.worker(max(1, lab.workers))
        files.make_key(lab.identity_file, f"b9prov-lab-{name}")
        if not lab.admin_token_path.exists():
            write_file(lab.admin_token_path, f"{secrets.token_urlsafe(32)}\n", mode=0o600)
        lab._save()
        return lab


def _ensure_mirror(lab: Lab) -> None:
    lab.artifacts_dir.mkdir(parents=True, exist_ok=True)
    served = lab.directory / "mirror.serves"
    if Process.recorded(_mirror_record(lab)):
        if served.exists() and served.read_text() == lab.artifacts:
            return
        _end_mirror(lab)
    write_file(served, lab.artifacts)
    serve = [sys.executable, "-I", mirror.__file__, "--directory", str(lab.artifacts_dir)]
    serve += ["--bind", lab.network.controller, "--port", str(mirror.PORT)]
    # In a group of its own, it does not end with the service or session that started it.
    name, groups = f"{lab.network.bridge}-mirror", lab.directory / "mirror.cgroups"
    argv = cgroups.wrap(name, 'exec "$@"', serve, groups)
    launch(argv, record=_mirror_record(lab), log=lab.directory / "mirror.log")
    if not wait_listening(lab.network.controller, mirror.PORT, seconds=10):
        raise LabError("the mirror does not start", f"see {lab.directory / 'mirror.log'}")


def _end_mirror(lab: Lab) -> None:
    if process := Process.recorded(_mirror_record(lab)):
        process.end()
    cgroups.remove(lab.directory / "mirror.cgroups")


def _mirror_record(lab: Lab) -> Path:
    return lab.directory / "mirror.stat"


def _each(hosts: Iterable[Host], act: Callable[[Host], None]) -> None:
    """Do the same with all hosts at once; the first failure is raised when all are done."""
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for outcome in [pool.submit(act, host) for host in hosts]:
            outcome.result()


def _labs() -> list[Lab]:
    return [Lab.load(name) for name in lab_names()]


def _labs_dir() -> Path:
    return paths.state_dir() / "lab"


def _state_file(name: str) -> Path:
    return _labs_dir() / name / "lab.json"


def _lab_lock(name: str) -> Any:
    return locked(_labs_dir() / f".{name}.lock", seconds=_LOCK_SECONDS)


def _check_name(name: str) -> None:
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise LabError(f"{name!r} is no name for a lab", "lower-case letters, digits and dashes")
