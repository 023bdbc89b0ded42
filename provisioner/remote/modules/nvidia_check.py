"""Whether this host's NVIDIA GPUs can be used: hardware, driver, nvidia-smi, toolkit; in one pass.

`required` is true, false (GPUs don't matter) or auto (they matter if there are any). Nothing is
installed: each finding says what to do. `gpus` lists what nvidia-smi sees.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from pathlib import Path
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.checks import ERROR, WARN, Checks, version
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "required": Argument("str", default="auto", choices=("true", "false", "auto")),
    "min_driver": Argument("str"),
    "min_memory_mib": Argument("int"),
    "min_gpus": Argument("int"),
    "toolkit": Argument("str", default="warn", choices=("error", "warn", "ignore")),
    "deadline": Argument("float", default=20.0),
    "sysfs": Argument("str", default="/sys"),
    "procfs": Argument("str", default="/proc"),
    "search_path": Argument("str"),
}

VENDOR = "0x10de"
DISPLAY = "0x03"
BRIDGE = "0x0680"
"""The PCI class of an NVSwitch."""

FIELDS = {
    "index": "index",
    "uuid": "uuid",
    "name": "name",
    "pci": "pci.bus_id",
    "memory_mib": "memory.total",
    "driver": "driver_version",
    "mig": "mig.mode.current",
    "ecc": "ecc.mode.current",
    "ecc_errors": "ecc.errors.uncorrected.volatile.total",
    "persistence": "persistence_mode",
    "temperature": "temperature.gpu",
}
NUMBERS = ("index", "memory_mib", "ecc_errors", "temperature")
TOOLKIT = ("nvidia-container-runtime", "nvidia-ctk", "nvidia-container-cli")
USUAL = "/usr/local/nvidia/toolkit:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Look at everything, from the PCI bus up to the container toolkit."""
    checks = Checks()
    host = _Host(arguments)
    present = host.pci(DISPLAY)
    required = arguments["required"]
    if not present:
        checks.add(
            "gpu",
            required != "true",
            "no NVIDIA GPU on the PCI bus",
            "at least one" if required == "true" else "none is fine",
            "attach a GPU, or say in the inventory that this host has none",
        )
        return checks.finish("NVIDIA", gpu=False, gpus=[])
    # on a host that needs no GPU a broken one is worth a word, no more
    severity = WARN if required == "false" else ERROR
    names = ", ".join(present)
    checks.add("gpu", True, f"{len(present)} on the PCI bus ({names})", "any")
    loaded = _driver(host, arguments, checks, severity)
    gpus = _smi(host, arguments, checks, severity, len(present)) if loaded else []
    _condition(gpus, checks)
    _fabric(host, checks, severity)
    _toolkit(host, arguments, checks)
    extra = {"gpu": bool(gpus), "gpus": gpus, "driver_version": host.driver() or ""}
    return checks.finish("NVIDIA", **extra)


class _Host:
    """Where to look; tests have it look elsewhere."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.sysfs = Path(arguments["sysfs"])
        self.procfs = Path(arguments["procfs"])
        self.path = arguments["search_path"] or f"{os.environ.get('PATH', '')}:{USUAL}"

    def pci(self, kind: str) -> list[str]:
        """The PCI addresses of NVIDIA's devices of a class."""
        devices = self.sysfs / "bus/pci/devices"
        found = sorted(devices.iterdir()) if devices.is_dir() else []
        return [
            d.name
            for d in found
            if _read(d / "vendor") == VENDOR and _read(d / "class").startswith(kind)
        ]

    def driver(self) -> str | None:
        """The version of the driver that is loaded."""
        text = _read(self.procfs / "driver/nvidia/version")
        match = re.search(r"Kernel Module\s+(?:for \S+\s+)?(\d+(?:\.\d+)+)", text)
        return match[1] if match else None

    def has_module(self, name: str) -> bool:
        return (self.sysfs / "module" / name).is_dir()

    def runs(self, name: str) -> bool:
        """Whether a program of this name runs (the kernel keeps 15 characters)."""
        return any(_read(path) == name[:15] for path in self.procfs.glob("[0-9]*/comm"))

    def which(self, name: str) -> str | None:
        return shutil.which(name, path=self.path)


def _read(path: Path) -> str:
    try:
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _driver(host: _Host, arguments: dict[str, Any], checks: Checks, severity: str) -> bool:
    nouveau = host.has_module("nouveau")
    checks.add(
        "nouveau",
        not nouveau,
        "the nouveau module is loaded" if nouveau else "not loaded",
        "not loaded",
        "blacklist nouveau in /etc/modprobe.d, run update-initramfs -u and reboot",
        severity,
    )
    loaded = host.driver()
    wanted = f"{arguments['min_driver']} or newer" if arguments["min_driver"] else "any version"
    checks.add(
        "driver loaded",
        loaded is not None,
        loaded or "none",
        wanted,
        "install the driver (Ubuntu: ubuntu-drivers install --gpgpu) and reboot; "
        "if it is installed, see why modprobe nvidia fails: dmesg | grep -i nvrm",
        severity,
    )
    if loaded and arguments["min_driver"]:
        enough = version(loaded) >= version(arguments["min_driver"])
        fix = "install a newer driver and reboot"
        checks.add("driver version", enough, loaded, wanted, fix, severity)
    return loaded is not None


def _smi(
    host: _Host, arguments: dict[str, Any], checks: Checks, severity: str, count: int
) -> list[dict[str, Any]]:
    program = host.which("nvidia-smi")
    fix = "install the driver's utilities (nvidia-utils of the driver's version)"
    found = program or "not there"
    if not checks.add("nvidia-smi", program is not None, found, "a program", fix, severity):
        return []
    argv = [
        str(program),
        f"--query-gpu={','.join(FIELDS.values())}",
        "--format=csv,noheader,nounits",
    ]
    outcome = process.run(argv, timeout=arguments["deadline"])
    if outcome.rc != 0 or outcome.timed_out:
        said = outcome.said or f"exit status {outcome.rc}"
        if outcome.timed_out:
            said = f"no answer in {arguments['deadline']:.0f} s"
        checks.add("nvidia-smi answers", False, said, "an answer", _advice(outcome), severity)
        return []
    gpus = [_gpu(row) for row in csv.reader(outcome.stdout.splitlines(), skipinitialspace=True)]
    checks.add("nvidia-smi answers", True, f"in {outcome.seconds:.1f} s", "an answer")
    fix = "a GPU may have fallen off the bus: dmesg | grep -i xid; a reboot may bring it back"
    checks.add("gpus usable", len(gpus) == count, len(gpus), count, fix, severity)
    if arguments["min_gpus"]:
        enough = len(gpus) >= arguments["min_gpus"]
        fix = "use a host with more GPUs"
        checks.add("gpu count", enough, len(gpus), arguments["min_gpus"], fix, severity)
    for gpu in gpus if arguments["min_memory_mib"] else []:
        memory, least = gpu["memory_mib"] or 0, arguments["min_memory_mib"]
        name = f"gpu {gpu['index']} memory"
        fix = "use a larger GPU"
        checks.add(name, memory >= least, f"{memory} MiB", f"{least} MiB", fix, severity)
    return gpus


def _advice(outcome: process.Outcome) -> str:
    if outcome.timed_out:
        return "the driver hangs: see dmesg | grep -i -e nvrm -e xid, then reboot"
    if "version mismatch" in outcome.stdout + outcome.stderr:
        return "the driver was updated but the old one is still loaded: reboot"
    if "No devices were found" in outcome.stdout + outcome.stderr:
        return "the driver can't start the GPU: dmesg | grep -i nvrm"
    return "run nvidia-smi on the host and see dmesg | grep -i nvrm"


def _gpu(row: list[str]) -> dict[str, Any]:
    gpu: dict[str, Any] = {}
    for index, name in enumerate(FIELDS):
        value = row[index].strip() if index < len(row) else ""
        known = bool(value) and not value.startswith("[") and value != "N/A"
        if name in NUMBERS:
            gpu[name] = int(value) if known and value.isdigit() else None
        else:
            gpu[name] = value if known else None
    return gpu


def _condition(gpus: list[dict[str, Any]], checks: Checks) -> None:
    for gpu in gpus:
        label = f"gpu {gpu['index']}"
        if gpu["ecc_errors"] is not None:
            fix = "reset the GPU or reboot; if they come again, the GPU is faulty"
            errors = gpu["ecc_errors"]
            checks.add(f"{label} ECC", not errors, f"{errors} uncorrected errors", "0", fix, WARN)
        if gpu["mig"] is not None:
            fix = "it is shared in slices; nvidia-smi -mig 0 makes it one again"
            checks.add(f"{label} MIG", gpu["mig"] != "Enabled", gpu["mig"], "Disabled", fix, WARN)


def _fabric(host: _Host, checks: Checks, severity: str) -> None:
    switches = host.pci(BRIDGE)
    if not switches:
        return
    runs = host.runs("nv-fabricmanager")
    found = f"{len(switches)} NVSwitches, the fabric manager {'runs' if runs else 'does not run'}"
    fix = "install nvidia-fabricmanager of the driver's version, enable and start it"
    checks.add("fabric manager", runs, found, "running", fix, severity)


def _toolkit(host: _Host, arguments: dict[str, Any], checks: Checks) -> None:
    if arguments["toolkit"] == "ignore":
        return
    found = next(filter(None, map(host.which, TOOLKIT)), None)
    fix = "install nvidia-container-toolkit, else containers get no GPU"
    severity = arguments["toolkit"] if arguments["required"] != "false" else WARN
    checks.add(
        "container toolkit", found is not None, found or "not there", "installed", fix, severity
    )
