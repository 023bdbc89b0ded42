"""Rows about the GPUs themselves: memory, heat, power, bus, kind."""

from __future__ import annotations

from collections.abc import Callable

from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.nvidia.smi import Gpu

MOST_RETIRED = 60
"""Pages of memory; with more NVIDIA takes a GPU back (older than Ampere, which remaps rows)."""
_BUSY = ("P0", "P1", "P2")
"""Performance states in which the bus is not slowed down to save power."""
_HEAT = ("hw_thermal_slowdown", "sw_thermal_slowdown")
_POWER = ("hw_power_brake_slowdown",)

Judge = Callable[[Gpu], "str | bool | None"]


def rows(gpus: list[Gpu], checks: Checks) -> None:
    """Note the condition of GPUs that answer."""
    gpus = [gpu for gpu in gpus if not gpu.is_lost()]
    for name, judge, wanted, severity, fix in _ROWS:
        _each(checks, gpus, name, judge, wanted, severity, fix)
    _kinds(checks, gpus)


def _each(
    checks: Checks,
    gpus: list[Gpu],
    name: str,
    judge: Judge,
    wanted: str,
    severity: str,
    fix: str,
) -> None:
    """One row for all GPUs. `judge` says what is wrong with one, True for nothing, and None for
    what it doesn't know."""
    said = {gpu.label: judge(gpu) for gpu in gpus}
    wrong = [f"{label}: {each}" for label, each in said.items() if isinstance(each, str)]
    known = sum(each is not None for each in said.values())
    if not known:
        checks.skip(name, "this kind of GPU does not tell")
    else:
        found = "; ".join(wrong) or f"{wanted}, {known} of {known}"
        checks.add(name, not wrong, found, wanted, fix, severity)


def _persistence(gpu: Gpu) -> str | bool | None:
    mode = gpu.text("persistence_mode")
    return (mode == "Enabled" or "off") if mode else None


def _ecc(gpu: Gpu) -> str | bool | None:
    mode = gpu.text("ecc_mode/current_ecc")
    return (mode == "Enabled" or "off") if mode else None


def _ecc_errors(gpu: Gpu) -> str | bool | None:
    if gpu.text("ecc_mode/current_ecc") != "Enabled":
        return None
    # newer drivers count by the way they were found, older ones by their bits
    count = gpu.total("ecc_errors/volatile", like="uncorrectable")
    count += gpu.total("ecc_errors/volatile/double_bit", like="total")
    return f"{count} uncorrected since the driver was loaded" if count else True


def _repairs_failed(gpu: Gpu) -> str | bool | None:
    if gpu.text("remapped_rows/remapped_row_failure") == "Yes":
        return "a row of memory could not be remapped"
    retired = gpu.total("retired_pages", like="retired_count")
    if retired >= MOST_RETIRED:
        return f"{retired} pages retired"
    return True if _tells_repairs(gpu) else None


def _repairs_pending(gpu: Gpu) -> str | bool | None:
    if gpu.text("remapped_rows/remapped_row_pending") == "Yes":
        return "rows wait to be remapped"
    if gpu.text("retired_pages/pending_retirement", "retired_pages/pending_blacklist") == "Yes":
        return "pages wait to be retired"
    return True if _tells_repairs(gpu) else None


def _tells_repairs(gpu: Gpu) -> bool:
    return bool(
        gpu.text("remapped_rows/remapped_row_failure", "retired_pages/pending_retirement")
        or gpu.text("retired_pages/pending_blacklist")
    )


def _hot(gpu: Gpu) -> str | bool | None:
    heat = gpu.number("temperature/gpu_temp")
    if heat is None:
        return None
    slow = gpu.number("temperature/gpu_temp_slow_threshold")
    left = gpu.number("temperature/gpu_temp_tlimit")  # of Hopper and newer: down to the limit
    if gpu.active(*_HEAT) or (slow and heat >= slow) or (left is not None and left <= 0):
        return f"{heat:g} °C, and slowed down"
    return True


def _power_limit(gpu: Gpu) -> str | bool | None:
    now = _watts(gpu, "current_power_limit", "enforced_power_limit", "power_limit")
    usual = _watts(gpu, "default_power_limit")
    if now is None or usual is None:
        return None
    return f"{now:g} W of {usual:g} W" if now < usual else True


def _watts(gpu: Gpu, *names: str) -> float | None:
    kinds = ("gpu_power_readings", "power_readings")
    return gpu.number(*(f"{kind}/{name}" for name in names for kind in kinds))


def _power(gpu: Gpu) -> str | bool | None:
    return ", ".join(gpu.active(*_POWER)) or True


def _pcie(gpu: Gpu) -> str | bool | None:
    link = "pci/pci_gpu_link_info"
    width = gpu.number(f"{link}/link_widths/current_link_width")
    widest = gpu.number(f"{link}/link_widths/max_link_width")
    now = gpu.number(f"{link}/pcie_gen/current_link_gen")
    most = gpu.number(f"{link}/pcie_gen/max_link_gen")
    if width is None or widest is None:
        return None
    slow = now is not None and most is not None and now < most
    if width < widest or (slow and gpu.text("performance_state") in _BUSY):
        return f"generation {now or 0:g} of {most or 0:g}, x{width:g} of x{widest:g}"
    return True


def _kinds(checks: Checks, gpus: list[Gpu]) -> None:
    kinds = sorted({gpu.text("product_name") for gpu in gpus})
    if kinds:
        fix = "give the host GPUs of one kind: the gateway takes all of a machine's for the same"
        checks.add("kind", len(kinds) == 1, ", ".join(kinds), "one kind", fix, WARN)


_ROWS: tuple[tuple[str, Judge, str, str, str], ...] = (
    (
        "persistence mode",
        _persistence,
        "on",
        WARN,
        "enable and start nvidia-persistenced: each start of a program waits for the driver now",
    ),
    (
        "ECC",
        _ecc,
        "on",
        WARN,
        "turn it on: nvidia-smi -e 1, then reboot",
    ),
    (
        "ECC errors",
        _ecc_errors,
        "none uncorrected",
        WARN,
        "reset the GPU (nvidia-smi -r) or reboot; where they come again it is faulty",
    ),
    (
        "memory repairs",
        _repairs_failed,
        "all done",
        ERROR,
        "have the GPU replaced: its memory can't be repaired any more",
    ),
    (
        "memory repairs pending",
        _repairs_pending,
        "none",
        WARN,
        "reset the GPU (nvidia-smi -r) or reboot, which repairs its memory",
    ),
    (
        "temperature",
        _hot,
        "below where it slows down",
        WARN,
        "see to the host's cooling: fans, air flow, dust",
    ),
    (
        "power limit",
        _power_limit,
        "as the board has it by default",
        WARN,
        "set it back: nvidia-smi -pl WATTS, the default that is told here",
    ),
    (
        "power",
        _power,
        "not held back",
        WARN,
        "see to the power supply: the board brakes the GPU",
    ),
    (
        "PCIe",
        _pcie,
        "all that slot and GPU can do",
        WARN,
        "seat the GPU and its riser anew; in a virtual machine this may be how it is given",
    ),
)
"""The rows about each GPU: name, judge, what is wanted, severity, fix."""
