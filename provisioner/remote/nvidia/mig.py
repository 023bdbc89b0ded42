"""How GPUs are cut into MIG slices, as a row and for who is to cut them."""

from __future__ import annotations

from collections import Counter

from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.nvidia import smi
from provisioner.remote.nvidia.machine import Machine
from provisioner.remote.nvidia.smi import Gpu


def rows(machine: Machine, gpus: list[Gpu], checks: Checks, wanted: list[str] | None) -> None:
    """Note the slices; `wanted` are those of each GPU, None when the inventory leaves it open."""
    modes = {gpu.index: gpu.text("mig_mode/current_mig") for gpu in gpus}
    if not any(modes.values()) and not wanted:
        checks.skip("MIG", "this kind of GPU can't be cut into slices")
        return
    enabled = [index for index, mode in modes.items() if mode == "Enabled"]
    layout = (smi.slices(machine) or {}) if enabled else {}
    found = {f"gpu {index}": describe(layout.get(index, [])) for index in enabled}
    shown = "; ".join(f"{label}: {each}" for label, each in found.items()) or "off"
    if wanted is None:
        fix = "say under nvidia.mig in the inventory which slices each GPU is to have"
        checks.add("MIG", not enabled, shown, "off, or as nvidia.mig says", fix, WARN)
        return
    right = all(is_cut(gpu, layout.get(gpu.index, []), wanted) for gpu in gpus)
    fix = "set nvidia.allow_reconfigure: true in the inventory and run `b9prov up` again"
    checks.add("MIG", right, shown, describe(wanted) if wanted else "off", fix, ERROR)


def is_cut(gpu: Gpu, slices: list[str], wanted: list[str]) -> bool:
    """Whether a GPU has just the slices that it is to have; none means that MIG is off."""
    enabled = gpu.text("mig_mode/current_mig") == "Enabled"
    return enabled == bool(wanted) and sorted(slices) == sorted(wanted)


def describe(slices: list[str]) -> str:
    """`7 x 1g.10gb`, and so on."""
    counts = Counter(slices)
    return ", ".join(f"{count} x {name}" for name, count in sorted(counts.items())) or "no slices"
