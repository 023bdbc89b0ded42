"""Where the checks look: /sys, /proc and programs; tests have them look elsewhere."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

from provisioner.remote import process

VENDOR = "0x10de"
GPU = "0x03"
"""How the PCI class of a GPU begins."""
NVSWITCH = "0x0680"
USUAL = "/usr/local/nvidia/toolkit:/usr/local/nvidia/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin"
_EFI = "firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
_VERSION = re.compile(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)")


class Machine(NamedTuple):
    """A host to be looked at; `deadline` is what each program is given, in seconds."""

    sysfs: Path = Path("/sys")
    procfs: Path = Path("/proc")
    search_path: str = ""
    libraries: str = ""
    deadline: float = 20.0

    def pci(self, kind: str) -> list[str]:
        """The PCI addresses of NVIDIA's devices of a class."""
        devices = self.sysfs / "bus/pci/devices"
        found = sorted(devices.iterdir()) if devices.is_dir() else []
        return [
            d.name
            for d in found
            if text(d / "vendor") == VENDOR and text(d / "class").startswith(kind)
        ]

    def driver(self) -> str:
        """The version of the driver that is loaded, "" when none is."""
        match = _VERSION.search(text(self.procfs / "driver/nvidia/version"))
        return match[1] if match else ""

    def has_module(self, name: str) -> bool:
        """Whether the kernel has loaded a module."""
        return (self.sysfs / "module" / name).is_dir()

    def runs(self, name: str) -> bool:
        """Whether a program of this name runs (the kernel keeps 15 characters)."""
        return any(text(path) == name[:15] for path in self.procfs.glob("[0-9]*/comm"))

    def secure_boot(self) -> bool | None:
        """Whether the firmware lets only signed code run; None where it is no UEFI."""
        try:
            return (self.sysfs / _EFI).read_bytes()[-1:] == b"\x01"
        except OSError:
            return None

    def which(self, name: str) -> str | None:
        """The path of a program."""
        return shutil.which(name, path=self.search_path or f"{os.environ.get('PATH', '')}:{USUAL}")

    def ask(self, name: str, *words: str) -> process.Outcome:
        """Run a program for as long as the deadline allows; rc 127 when there is none."""
        return process.run([self.which(name) or name, *words], timeout=self.deadline)


def text(path: Path) -> str:
    """What is in a small file, "" when it can't be read."""
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""
