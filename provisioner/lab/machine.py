"""What the lab needs of the machine it runs on, and how it runs that machine's commands."""

from __future__ import annotations

import fcntl
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

APT_PACKAGES = (
    "systemd-container",
    "mmdebstrap",
    "debian-archive-keyring",
    "iproute2",
    "openssh-client",
)
INOTIFY = Path("/proc/sys/fs/inotify/max_user_instances")
INOTIFY_WANTED = 1024
_COMMANDS = ("systemd-nspawn", "mmdebstrap", "ip", "ssh-keygen", "nsenter", "mount")


class LabError(Exception):
    """The lab can't do what was asked: what is wrong, and the way out."""

    def __init__(self, message: str, advice: str = "") -> None:
        self.message = message
        self.advice = advice
        super().__init__(f"{message} ({advice})" if advice else message)


def check_machine() -> list[str]:
    """What keeps this machine from running a lab, one line each; empty when nothing does."""
    if platform.system() != "Linux":
        return ["the lab needs Linux: its hosts are systemd-nspawn containers"]
    missing = []
    if os.geteuid() != 0:
        missing.append("the lab needs root: run the command with sudo")
    if any(shutil.which(command) is None for command in _COMMANDS):
        missing.append(f"missing packages: apt-get install {' '.join(APT_PACKAGES)}")
    if not _has_overlayfs():
        missing.append("the kernel has no overlayfs: modprobe overlay")
    return missing


def require_machine() -> None:
    """Raise a LabError with everything that `check_machine` finds."""
    if missing := check_machine():
        raise LabError("; ".join(missing))


def allow_inotify(progress: Callable[[str], None]) -> None:
    """Raise the kernel's limit on inotify handles, of which each host's systemd takes several.

    Debian's 128 for all of root's processes is used up by about seven labs; a host then dies
    while booting. The limit is back to its default after a reboot.
    """
    if int(INOTIFY.read_text()) < INOTIFY_WANTED:
        progress(f"raising fs.inotify.max_user_instances to {INOTIFY_WANTED} until the next boot")
        INOTIFY.write_text(f"{INOTIFY_WANTED}\n")


def command(argv: Sequence[str | Path], *, timeout: float = 60) -> str:
    """The output of a command of this machine; a LabError with its last words when it fails."""
    words = [str(word) for word in argv]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout
        )
    except FileNotFoundError as error:
        raise LabError(
            f"{words[0]} is not installed", f"apt-get install {' '.join(APT_PACKAGES)}"
        ) from error
    except subprocess.TimeoutExpired as error:
        raise LabError(f"{words[0]} took longer than {timeout:.0f} s") from error
    if done.returncode != 0:
        raise LabError(f"{' '.join(words[:4])} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


@contextmanager
def locked(path: Path, *, seconds: float) -> Iterator[None]:
    """Hold the lock file `path`; the kernel lets go of it when its holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as file:
        give_up = time.monotonic() + seconds
        while not _try_lock(file.fileno()):
            if time.monotonic() > give_up:
                raise LabError(f"another process has held {path} for {seconds:.0f} s")
            time.sleep(0.1)
        yield


def write_file(path: Path, text: str, mode: int = 0o644) -> None:
    """Write a whole file or none of it, never readable by more than `mode` allows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.half")
    half.unlink(missing_ok=True)
    with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    half.replace(path)


def mounted_under(directory: Path) -> list[Path]:
    """Mount points at or below a directory, the deepest first."""
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    points = [Path(line.split()[4]) for line in lines]
    return sorted((p for p in points if p.is_relative_to(directory)), reverse=True)


def remove_tree(directory: Path) -> None:
    """Delete a directory of the lab, and refuse as long as anything is mounted in it."""
    directory = directory.resolve()
    if points := mounted_under(directory):
        raise LabError(f"{points[0]} is still mounted", f"umount {points[0]}")
    if not directory.exists():
        return
    try:
        shutil.rmtree(directory)
    except PermissionError:  # a log that may only be appended to
        subprocess.run(["chattr", "-R", "-f", "-a", directory], check=False)
        shutil.rmtree(directory)


def _has_overlayfs() -> bool:
    if "overlay" in Path("/proc/filesystems").read_text().split():
        return True
    modprobe = shutil.which("modprobe")
    return modprobe is not None and subprocess.run([modprobe, "-q", "overlay"]).returncode == 0


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
