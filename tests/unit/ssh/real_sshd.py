"""A real sshd on this machine, with keys and authorities of its own, for one test."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

PROGRAM = shutil.which("sshd") or "/usr/sbin/sshd"
PATIENCE = 10.0  # seconds
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
PidFile none
UsePAM no
StrictModes no
PermitRootLogin yes
PasswordAuthentication no
KbdInteractiveAuthentication no
AuthorizedKeysFile {folder}/authorized_keys
MaxAuthTries 20
LogLevel VERBOSE
"""


def run(*argv: object) -> str:
    """What a program prints that must go well."""
    words = [str(word) for word in argv]
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    return done.stdout


def make_key(path: Path, kind: str = "ed25519", passphrase: str = "") -> str:
    """Make a key pair; its public line without the comment."""
    run("ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", "test", "-f", path)
    return public_line(Path(f"{path}.pub"))


def public_line(path: Path) -> str:
    """`TYPE BASE64` of a public key's file."""
    return " ".join(path.read_text().split()[:2])


def fingerprint(path: Path) -> str:
    """What ssh-keygen says."""
    return run("ssh-keygen", "-l", "-f", path).split()[1]


def sign(authority: Path, public: Path, *options: str) -> None:
    """Have an authority sign a key; the certificate is beside it."""
    run("ssh-keygen", "-q", "-s", authority, "-I", "test", *options, public)


@dataclass
class Sshd:
    """One that listens, and who may log in to it."""

    folder: Path
    port: int
    user: str = getpass.getuser()
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def prepare(cls, folder: Path, kinds: tuple[str, ...] = ("ed25519",)) -> Sshd:
        """One that does not run yet, with host keys of these kinds."""
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        found = cls(folder, port)
        for kind in kinds:
            make_key(found.key(kind), kind)
        found.allow()
        return found

    def key(self, kind: str = "ed25519") -> Path:
        """A host key's private half."""
        return self.folder / f"host_{kind}"

    @property
    def name(self) -> str:
        """As files of known hosts have it."""
        return f"[127.0.0.1]:{self.port}"

    @property
    def log(self) -> str:
        """What it has said so far."""
        return (self.folder / "log").read_text()

    def known(self, kind: str = "ed25519") -> str:
        """The line of known_hosts for a host key."""
        return f"{self.name} {public_line(Path(f'{self.key(kind)}.pub'))}\n"

    def allow(self, *lines: str) -> None:
        """Let who has one of these keys log in, and nobody else."""
        (self.folder / "authorized_keys").write_text("".join(f"{line}\n" for line in lines))

    def start(self, *options: str) -> None:
        """Start it, with further lines of configuration."""
        with contextlib.suppress(PermissionError):  # only root's sshd wants it
            os.makedirs("/run/sshd", exist_ok=True)
        keys = [f"HostKey {path}" for path in sorted(self.folder.glob("host_*[!b]"))]
        text = CONFIG.format(port=self.port, folder=self.folder)
        config = self.folder / "config"
        # of each option the first value holds
        config.write_text("\n".join([*keys, *options, text]))
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen([PROGRAM, "-D", "-e", "-f", config], stderr=log)
        give_up = time.monotonic() + PATIENCE
        while socket.socket().connect_ex(("127.0.0.1", self.port)):
            assert time.monotonic() < give_up and self.process.poll() is None, self.log
            time.sleep(0.02)

    def stop(self) -> None:
        """End it, and its sessions."""
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None
