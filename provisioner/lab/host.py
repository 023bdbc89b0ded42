"""One lab host: Debian with systemd and sshd in a container, on an overlay of the shared root."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from provisioner.lab import cgroups, files
from provisioner.lab.machine import LabError, command, mounted_under, remove_tree
from provisioner.lab.network import Network
from provisioner.lab.processes import Process, launch, running

BOOT_SECONDS = 60.0
_SHUTDOWN_SECONDS = 30.0
_DIE_SECONDS = 10.0
# systemd's own signals: shut down cleanly, reboot.
_POWEROFF = signal.SIGRTMIN + 4
_REBOOT = signal.SIGRTMIN + 5
# nspawn ends with 133 when the host rebooted, and leaves it to us to start it again.
_SUPERVISE = 'while "$@"; [ $? -eq 133 ]; do :; done'


@dataclass(frozen=True)
class Host:
    """A host of a lab, running or not; everything of it is under `directory`."""

    name: str
    address: str
    machine: str
    directory: Path
    rootfs: Path
    network: Network
    authorized_key: str

    @property
    def root(self) -> Path:
        """The host's root file system, seen from this machine."""
        return self.directory / "root"

    def path(self, inside: str | Path) -> Path:
        """Where a path of the host lies on this machine (not so for /run, /tmp and mounts)."""
        return self.root / str(inside).lstrip("/")

    @property
    def host_key(self) -> str:
        """The host's public SSH key, as `ssh-ed25519 AAAA…`."""
        return files.public_key(self.directory / "ssh_host_ed25519_key")

    @property
    def log(self) -> Path:
        """What the host's console showed."""
        return self.directory / "console.log"

    # -- made and unmade

    def create(self) -> None:
        """Make the host's files, once; a half-made host is made anew."""
        if not self._created.exists():
            self._unmount()
            self._make_layers()
            self._mount()
            files.write_identity(self)
            self._created.touch()
        self._mount()

    def wipe(self) -> None:
        """Cut the power and forget everything but the host key; `create` makes it a new host."""
        self.kill()
        self._created.unlink(missing_ok=True)

    def destroy(self) -> None:
        """Power off and leave nothing."""
        self.kill()
        self._unmount()
        cgroups.remove(self.directory / "cgroups")
        for leftover in ("propagate", "unix-export"):
            with contextlib.suppress(FileNotFoundError):
                Path(f"/run/systemd/nspawn/{leftover}/{self.machine}").rmdir()
        remove_tree(self.directory)

    # -- power

    def running(self) -> bool:
        """Whether the host is powered on."""
        return self.supervisor() is not None

    def start(self, seconds: float = BOOT_SECONDS) -> None:
        """Boot the host, if it is off, and wait until it takes logins."""
        self.launch()
        self.wait_ready(seconds)

    def supervisor(self) -> Process | None:
        """The process that starts the host again when it reboots."""
        return Process.recorded(self._record)

    def launch(self) -> None:
        """Boot the host, if it is off."""
        if self.running():
            return
        # Its supervisor may have been killed alone.
        self.kill()
        self._mount()
        argv = cgroups.wrap(self.machine, _SUPERVISE, self._nspawn(), self.directory / "cgroups")
        launch(argv, record=self._record, log=self.log)

    def stop(self) -> None:
        """Shut the host down cleanly; cut the power when that takes too long."""
        if leader := self.leader():
            leader.send(_POWEROFF)
        supervisor = self.supervisor()
        if supervisor and not supervisor.wait(_SHUTDOWN_SECONDS):
            self.kill()

    def kill(self) -> None:
        """Cut the power: everything in the host dies at once."""
        supervisor, nspawn, leader = self.supervisor(), self._nspawn_process(), self.leader()
        if supervisor:
            supervisor.end(signal.SIGKILL)
        if leader:
            leader.end(signal.SIGKILL)
        # With its host dead, nspawn takes down the link and ends; it is not killed in the midst.
        if nspawn and not (leader and nspawn.wait(_DIE_SECONDS)):
            nspawn.end(signal.SIGKILL)

    def reboot(self, seconds: float = BOOT_SECONDS) -> None:
        """Reboot cleanly, and wait until the host takes logins again."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is not running")
        leader.send(_REBOOT)
        if not leader.wait(_SHUTDOWN_SECONDS):
            raise LabError(f"{self.name} did not go down in {_SHUTDOWN_SECONDS:.0f} s")
        self.wait_ready(seconds)

    def wait_ready(self, seconds: float = BOOT_SECONDS) -> None:
        """Wait until sshd greets and the host no longer turns users away because it boots."""
        give_up = time.monotonic() + seconds
        while not (self._greets() and self._admits_users()):
            if not self.running():
                raise LabError(f"{self.name} went off while booting: {self._last_words()}")
            if time.monotonic() > give_up:
                raise LabError(f"{self.name} did not come up in {seconds:.0f} s", f"see {self.log}")
            time.sleep(0.02)

    # -- inside

    def leader(self) -> Process | None:
        """The host's process 1."""
        nspawn = self._nspawn_process()
        children = nspawn.children() if nspawn else []
        return children[0] if children else None

    def exec(
        self, argv: Sequence[str], input: str | None = None, *, timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a command in the host as root, without going through its sshd."""
        leader = self.leader()
        if leader is None:
            raise LabError(f"{self.name} is not running")
        enter = ["nsenter", f"--target={leader.pid}", "--mount", "--uts", "--ipc", "--net"]
        enter += ["--pid", "--cgroup", "--"]
        environment = ["env", "-i", "--chdir=/", "HOME=/root", "USER=root", "LANG=C.UTF-8"]
        environment += ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
        return subprocess.run(
            [*enter, *environment, *argv],
            input=input or "",
            capture_output=True,
            text=True,
            timeout=timeout,
        )

    def memory(self) -> int:
        """Bytes of memory that the host's processes use, shared pages counted once."""
        leader = self.leader()
        namespace = _pid_namespace(leader) if leader else None
        inside = (p for p in running() if namespace and _pid_namespace(p) == namespace)
        return sum(map(_proportional_bytes, inside))

    # -- network

    def cut_link(self) -> None:
        """Unplug the host: packets vanish, nothing tells either side."""
        command(["ip", "link", "set", self.port(), "down"])

    def restore_link(self) -> None:
        """Plug the host in again."""
        command(["ip", "link", "set", self.port(), "up"])

    # -- how

    @property
    def _created(self) -> Path:
        return self.directory / "created"

    @property
    def _record(self) -> Path:
        return self.directory / "supervisor.stat"

    def _nspawn(self) -> list[str]:
        return [
            "systemd-nspawn",
            "--quiet",
            "--boot",
            "--register=no",
            "--keep-unit",
            "--resolv-conf=off",
            "--timezone=off",
            "--link-journal=no",
            f"--network-bridge={self.network.bridge}",
            f"--machine={self.machine}",
            f"--directory={self.root}",
        ]

    def _nspawn_process(self) -> Process | None:
        ours = f"--directory={self.root}"
        for process in running():
            arguments = process.arguments()
            if arguments[:1] == ["systemd-nspawn"] and ours in arguments:
                return process
        return None

    def _make_layers(self) -> None:
        for layer in ("upper", "work", "root"):
            remove_tree(self.directory / layer)
            (self.directory / layer).mkdir(parents=True)
            # The upper layer's own mode is that of the host's `/`.
            (self.directory / layer).chmod(0o755)

    def _mount(self) -> None:
        if mounted_under(self.root):
            return
        layers = f"lowerdir={self.rootfs},upperdir={self.directory / 'upper'}"
        options = f"{layers},workdir={self.directory / 'work'}"
        command(["mount", "-t", "overlay", "overlay", "-o", options, self.root])

    def _unmount(self) -> None:
        for point in mounted_under(self.root):
            command(["umount", point])

    def port(self) -> str:
        """The name of the bridge's port that the host's cable is in."""
        shown = self.exec(["cat", "/sys/class/net/host0/iflink"])
        ports = self.network.ports()
        if shown.returncode != 0 or int(shown.stdout) not in ports:
            raise LabError(f"{self.name} has no link to {self.network.bridge}")
        return ports[int(shown.stdout)]

    def _greets(self) -> bool:
        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(8).startswith(b"SSH-2.0")
        except OSError:
            return False

    def _admits_users(self) -> bool:
        leader = self.leader()
        return leader is not None and not os.path.lexists(f"/proc/{leader.pid}/root/run/nologin")

    def _last_words(self) -> str:
        lines = (
            self.log.read_text(errors="replace").strip().splitlines() if self.log.exists() else []
        )
        return " / ".join(lines[-3:]) or "no output"


def _pid_namespace(process: Process) -> str | None:
    try:
        return str(Path(f"/proc/{process.pid}/ns/pid").readlink())
    except OSError:
        return None


def _proportional_bytes(process: Process) -> int:
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
