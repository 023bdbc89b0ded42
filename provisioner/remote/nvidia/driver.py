"""Rows on the way from the PCI bus to a driver that answers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from provisioner.remote.checks import ERROR, Checks, version
from provisioner.remote.nvidia import libraries, smi
from provisioner.remote.nvidia.machine import NVSWITCH, Machine

REBOOT = "reboot: the driver was updated while the old one stayed loaded"


class Told(NamedTuple):
    """What the driver's three ways in said."""

    smi: smi.Answer
    nvml: libraries.Told
    cuda: libraries.Told


def ask(machine: Machine) -> Told:
    """Ask all of them at the same time: where the driver hangs, one deadline is waited for."""
    with ThreadPoolExecutor(3) as pool:
        listed = pool.submit(smi.ask, machine)
        nvml = pool.submit(libraries.nvml, machine)
        cuda = pool.submit(libraries.cuda, machine)
        return Told(listed.result(), nvml.result(), cuda.result())


def rows(machine: Machine, checks: Checks, present: int, least: str | None) -> Told | None:
    """Note what there is up to a driver that is loaded, and what it answers; None without one."""
    _nouveau(machine, checks)
    loaded = machine.driver()
    wanted = f"{least} or newer" if least else "any version"
    if not loaded:
        _missing(machine, checks, wanted)
        return None
    checks.add("driver", True, loaded, wanted)
    _secure_boot(machine, checks)
    if least:
        enough = version(loaded) >= version(least)
        checks.add("driver version", enough, loaded, wanted, "install a newer driver and reboot")
    told = ask(machine)
    _answers(checks, told, loaded, present)
    return told


def fabric(machine: Machine, checks: Checks, told: Told) -> None:
    """GPUs behind NVSwitches start only once the fabric manager has joined them (error 802)."""
    switches = machine.pci(NVSWITCH)
    states = {
        gpu.label: gpu.text("fabric/status") or gpu.text("fabric/state")
        for gpu in told.smi.gpus
        if gpu.text("fabric/state")
    }
    if not switches and not states and told.cuda.code != 802:
        checks.skip("fabric manager", "not needed: no NVSwitch here")
        return
    waiting = [f"{label}: {said}" for label, said in states.items() if said != "Success"]
    runs = machine.runs("nv-fabricmanager") or not switches  # which a virtual machine may not see
    found = f"{len(switches)} NVSwitches, it {'runs' if runs else 'does not run'}"
    checks.add(
        "fabric manager",
        runs and not waiting and told.cuda.code != 802,
        "; ".join([found if switches else "no NVSwitch in view", *waiting]),
        "running, every GPU joined",
        f"install nvidia-fabricmanager of exactly version {machine.driver()}, "
        "and enable and start it",
        ERROR,
    )


def _nouveau(machine: Machine, checks: Checks) -> None:
    nouveau = machine.has_module("nouveau")
    checks.add(
        "nouveau",
        not nouveau,
        "loaded" if nouveau else "not loaded",
        "not loaded",
        "blacklist nouveau in /etc/modprobe.d, run update-initramfs -u and reboot",
    )


def _missing(machine: Machine, checks: Checks, wanted: str) -> None:
    """No driver is loaded: is there one, and who keeps it out?"""
    built = machine.ask("modinfo", "-F", "version", "nvidia")
    version = built.stdout.strip() if built.rc == 0 else ""
    fix = "install the driver and reboot: nvidia.install_driver in the inventory does"
    if version:
        fix = "load it: modprobe nvidia, which says why it can't"
    found = f"{version} is installed, none is loaded" if version else "none is loaded"
    checks.add("driver", False, found, wanted, fix)
    if version and machine.secure_boot():
        found = f"on, and the driver {version} is not loaded"
        fix = "enrol the key that signed the driver: mokutil --import /var/lib/dkms/mok.pub; reboot"
        checks.add("secure boot", False, found, "a signed driver, or off", fix)
    else:
        checks.skip("secure boot", "there is no driver that it could have refused")


def _secure_boot(machine: Machine, checks: Checks) -> None:
    secure = machine.secure_boot()
    if secure is None:
        checks.skip("secure boot", "this host has no UEFI")
    else:
        found = "on, and the driver is loaded" if secure else "off"
        checks.add("secure boot", True, found, "no hindrance")


def _answers(checks: Checks, told: Told, loaded: str, present: int) -> None:
    file = told.nvml.file_version
    if file:
        found = loaded if file == loaded else f"kernel {loaded}, libraries {file}"
        checks.add("driver and libraries", file == loaded, found, "one version", REBOOT)
    else:
        checks.skip("driver and libraries", "no library says of which version it is")
    listed = told.smi
    found = listed.problem or f"in {listed.seconds:.1f} s"
    checks.add("nvidia-smi", not listed.problem, found, "an answer", listed.fix)
    for name, library, call in (("NVML", told.nvml, "nvmlInit"), ("CUDA", told.cuda, "cuInit")):
        found = library.error or f"{name} {library.version}, {library.gpus} GPUs"
        checks.add(name, not library.error, found, f"{call} well", library.fix)
    if listed.gpus:
        usable = sum(not gpu.is_lost() for gpu in listed.gpus)
        fix = "power the host off and on: a GPU no longer answers on the PCI bus"
        checks.add("GPUs usable", usable == present, usable, present, fix)
