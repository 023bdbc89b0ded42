"""NVIDIA GPUs, by one `nvidia-smi -q -x`; without a working one by what the driver shows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.agent.devices.device import Device, numbered, text
from provisioner.agent.devices.tool import Tool

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

_UNKNOWN = ("", "N/A", "[N/A]", "Not Supported", "[Not Supported]", "Unknown Error", "Disabled")


class Nvidia:
    """The GPUs, their MIG slices, errors of their memory, and who works on them."""

    name = "nvidia"

    def __init__(self, root: Path, tool: Tool) -> None:
        self._proc = root / "proc/driver/nvidia"
        self._tool = tool

    def find(self) -> list[Device]:
        shown = numbered(self._proc / "gpus", "*")
        if not shown and not self._tool.has("nvidia-smi"):
            return []
        said = self._tool.ask("nvidia-smi", "-q", "-x")
        problem = said.problem
        if not problem:
            try:
                return _parsed(said.output)
            except ValueError as error:
                problem = f"nvidia-smi's answer can't be read: {error}"
        driver = _driver(text(self._proc / "version"))
        return [
            Device(
                "nvidia", index, _model(path), driver=driver, problem=problem,
                details={"pci": path.name},
            )
            for index, path in enumerate(shown)
        ]  # fmt: skip


def _model(gpu: Path) -> str:
    lines = text(gpu / "information").splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("Model")), "")


def _driver(version: str) -> str:
    words = version.partition("Module")[2].split()
    return next((word for word in words if word[0].isdigit()), "")


def _parsed(xml: str) -> list[Device]:
    """Raises ValueError."""
    from xml.etree import ElementTree  # only needed where there are GPUs

    try:
        log = ElementTree.fromstring(xml)
    except ElementTree.ParseError as error:
        raise ValueError(str(error)) from None
    driver, cuda = _text(log, "driver_version"), _text(log, "cuda_version")
    return [_device(index, gpu, driver, cuda) for index, gpu in enumerate(log.findall("gpu"))]


def _device(index: int, gpu: Element, driver: str, cuda: str) -> Device:
    uncorrected = _errors(gpu)
    retired = _text(gpu, "retired_pages/pending_retirement", "remapped_rows/remapped_row_pending")
    failed = _text(gpu, "remapped_rows/remapped_row_failure") == "Yes"
    slices = [_slice(each) for each in gpu.findall("mig_devices/mig_device")]
    processes = gpu.findall("processes/process_info")
    details: dict[str, Any] = {
        "uuid": _text(gpu, "uuid"),
        "pci": gpu.get("id", ""),
        "cuda": cuda,
        "mig": _text(gpu, "mig_mode/current_mig") == "Enabled",
        "slices": slices,
        "ecc": _text(gpu, "ecc_mode/current_ecc") == "Enabled",
        "uncorrected_errors": uncorrected,
        "persistence": _text(gpu, "persistence_mode") == "Enabled",
        "power_limit": _number(gpu, "gpu_power_readings/current_power_limit",
                               "power_readings/enforced_power_limit"),
        "processes": sum(_text(each, "type") in ("C", "M+C", "C+G") for each in processes),
    }  # fmt: skip
    problem = ""
    if failed:
        problem = "a row of its memory could not be remapped: have it replaced"
    elif retired == "Yes":
        problem = "pages of its memory wait to be retired: reset it, or reboot"
    elif uncorrected:
        problem = f"{uncorrected} uncorrected errors of its memory since boot"
    total, free = (_number(gpu, f"fb_memory_usage/{name}") for name in ("total", "free"))
    return Device(
        "nvidia",
        index,
        _text(gpu, "product_name"),
        None if total is None else int(total),
        None if free is None else int(free),
        driver,
        _number(gpu, "temperature/gpu_temp"),
        _number(gpu, "gpu_power_readings/power_draw", "gpu_power_readings/instant_power_draw",
                "power_readings/power_draw"),
        problem,
        details,
    )  # fmt: skip


def _slice(mig: Element) -> dict[str, Any]:
    total = _number(mig, "fb_memory_usage/total")
    return {
        "index": _text(mig, "index"),
        "gpu_instance": _text(mig, "gpu_instance_id"),
        "compute_instance": _text(mig, "compute_instance_id"),
        "memory": None if total is None else int(total),
    }


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
