"""Errors of the operating system in words, and what to do about them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable

_READ_ONLY = "mounted read-only: see dmesg and /etc/fstab, then remount it"
_FULL = "free space, or inodes, on that file system: df -h, df -i"
_ADVICE = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "free space, or raise the quota",
    errno.EROFS: f"that file system is {_READ_ONLY}",
    errno.EIO: "the disk or the network behind it fails: see dmesg",
    errno.EACCES: "use become: true; for root, see the mount's options, or SELinux or AppArmor",
    errno.EPERM: "use become: true; for root, see lsattr for a file that is immutable",
    errno.ETXTBSY: "that program runs: stop it first",
    errno.ENOMEM: "free memory, or use a larger machine",
    errno.EMFILE: "raise the limit of open files: ulimit -n",
}


def explain(error: OSError) -> str:
    """What went wrong, and with which file."""
    text = f"{error.strerror or error}"
    return f"{text}: {error.filename}" if error.filename else text


def advice(error: BaseException | None) -> str:
    """What to do about an error, or about the one that led to it; empty when nothing is known."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _ADVICE:
            return _ADVICE[error.errno]
        error = error.__context__
    return ""


def advice_on_disks(paths: Iterable[object]) -> str:
    """What to do about a file system that is full or read-only: that of one of the paths, or one
    that nearly every program writes to, whose own words may be far from it."""
    for path in (*(path for path in paths if isinstance(path, str)), "/etc", "/var", "/tmp"):  # noqa: S108 — only looked at
        try:
            found = os.statvfs(path)
        except (OSError, ValueError):
            continue
        if found.f_flag & os.ST_RDONLY:
            return f"{path} is {_READ_ONLY}"
        if found.f_blocks and not found.f_bavail:
            return f"{path} is full: {_FULL}"
    return ""
