"""`nvidia-smi -q -x` read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from provisioner.agent.devices.device import Device, Told
from provisioner.agent.devices.nvidia_memory import memory_problem
from provisioner.agent.devices.tool import Tool

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_UNKNOWN = ("", "N/A", "[N/A]", "Not Supported", "[Not Supported]", "Unknown Error", "Disabled")


def ask(tool: Tool, program: str) -> Told:
    """The GPUs as nvidia-smi, which is `program`, has them."""
    said = tool.ask(program, "-q", "-x")
    if said.problem:
        return Told([], said.problem)
    try:
        return Told(_parsed(said.output))
    except ValueError as error:
        return Told([], f"{program}'s answer can't be read: {error}")


def _parsed(xml: str) -> list[Device]:
    """Raises ValueError."""
    from xml.etree import ElementTree

    try:
        log = ElementTree.fromstring(xml)  # noqa: S314 — of nvidia-smi
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    driver, cuda = _text(log, "driver_version"), _text(log, "cuda_version")
    return [_device(index, gpu, driver, cuda) for index, gpu in enumerate(log.findall("gpu"))]


def _device(index: int, gpu: Element, driver: str, cuda: str) -> Device:
    uncorrected = _errors(gpu)
    retired = _text(gpu, "retired_pages/pending_retirement", "remapped_rows/remapped_row_pending")
    failed = _text(gpu, "remapped_rows/remapped_row_failure") == "Yes"
    processes = gpu.findall("processes/process_info")
    details: dict[str, Any] = {
        "uuid": _text(gpu, "uuid"),
        "pci": gpu.get("id", ""),
        "cuda": cuda,
        "mig": _text(gpu, "mig_mode/current_mig") == "Enabled",
        "slices": [_slice(each) for each in gpu.findall("mig_devices/mig_device")],
        "ecc": _text(gpu, "ecc_mode/current_ecc") == "Enabled",
        "uncorrected_errors": uncorrected,
        "persistence": _text(gpu, "persistence_mode") == "Enabled",
        "power_limit": _number(gpu, "gpu_power_readings/current_power_limit",
                               "power_readings/enforced_power_limit"),
        "processes": [_process(each) for each in processes
                      if _text(each, "type") in ("C", "M+C", "C+G")],
    }  # fmt: skip
    return Device(
        "nvidia",
        index,
        _text(gpu, "product_name"),
        _whole(gpu, "fb_memory_usage/total"),
        _whole(gpu, "fb_memory_usage/free"),
        driver,
        _number(gpu, "temperature/gpu_temp"),
        _number(gpu, "gpu_power_readings/power_draw", "gpu_power_readings/instant_power_draw",
                "power_readings/power_draw"),
        memory_problem(failed, retired == "Yes", uncorrected),
        details,
    )  # fmt: skip


def _slice(mig: Element) -> dict[str, Any]:
    return {
        "index": _whole(mig, "index"),
        "gpu_instance": _whole(mig, "gpu_instance_id"),
        "compute_instance": _whole(mig, "compute_instance_id"),
        "memory": _whole(mig, "fb_memory_usage/total"),
    }


def _process(process: Element) -> dict[str, Any]:
    return {"pid": _whole(process, "pid"), "memory": _whole(process, "used_memory")}


def _errors(gpu: Element) -> int:
    """Uncorrected errors of memory since boot, under the names of older and newer drivers."""
    volatile = gpu.find("ecc_errors/volatile")
    counts = [] if volatile is None else list(volatile.iter())
    return sum(
        int(each.text)
        for each in counts
        if each.text
        and each.text.strip().isdigit()
        and ("uncorrectable" in each.tag or each.tag == "double_bit_total")
    )


def _text(element: Element, *paths: str) -> str:
    """The first text that says something."""
    for path in paths:
        found = (element.findtext(path) or "").strip()
        if found and found not in _UNKNOWN:
            return found
    return ""


def _number(element: Element, *paths: str) -> float | None:
    """The number of `34 C`, `81559 MiB` or `71.20 W`."""
    try:
        return float(_text(element, *paths).split()[0])
    except (IndexError, ValueError):
        return None


def _whole(element: Element, path: str) -> int | None:
    value = _number(element, path)
    return None if value is None else int(value)
