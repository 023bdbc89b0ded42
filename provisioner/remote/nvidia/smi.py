"""`nvidia-smi` asked once for all it knows: `-q -x`, whose tags are the same over many drivers."""

from __future__ import annotations

from typing import Any, NamedTuple
from xml.etree import ElementTree

from provisioner.remote import process
from provisioner.remote.nvidia.machine import Machine

_UNKNOWN = (
    "",
    "N/A",
    "None",
    "Not Supported",
    "Unknown Error",
    "ERR!",
    "Requested functionality has been deprecated",
)
_LOST = ("GPU is lost", "GPU requires reset", "Unknown Error")


class Gpu:
    """A GPU as nvidia-smi tells of it."""

    def __init__(self, index: int, element: ElementTree.Element) -> None:
        self.index, self._element = index, element

    @property
    def label(self) -> str:
        """How a row calls it."""
        return f"gpu {self.index}"

    def text(self, *paths: str) -> str:
        """The first of these elements that says something, "" where none does."""
        for path in paths:
            found = (self._element.findtext(path) or "").strip().strip("[]")
            if found not in _UNKNOWN:
                return found
        return ""

    def number(self, *paths: str) -> float | None:
        """The number of `34 C`, `81559 MiB`, `16x` or `71.20 W`."""
        try:
            return float(self.text(*paths).split()[0].rstrip("x"))
        except (IndexError, ValueError):
            return None

    def total(self, path: str, *, like: str) -> int:
        """The sum of the counts below an element whose tags have `like` in them."""
        below = self._element.find(path)
        return sum(
            int(each.text)
            for each in ([] if below is None else below.iter())
            if like in each.tag and each.text and each.text.strip().isdigit()
        )

    def active(self, *reasons: str) -> list[str]:
        """Which of these reasons hold its clocks back now."""
        kinds = ("clocks_event_reason", "clocks_throttle_reason")  # of newer and older drivers
        return [
            reason.replace("_", " ")
            for reason in reasons
            if any(self.text(f"{kind}s/{kind}_{reason}") == "Active" for kind in kinds)
        ]

    def computing(self) -> list[str]:
        """The processes that compute on it."""
        return [
            (each.findtext("pid") or "?").strip()
            for each in self._element.findall("processes/process_info")
            if "C" in (each.findtext("type") or "C")
        ]

    def slices(self) -> int:
        """How many MIG devices it is cut into."""
        return len(self._element.findall("mig_devices/mig_device"))

    def is_lost(self) -> bool:
        """Whether it no longer answers."""
        name = (self._element.findtext("product_name") or "").strip("[] ")
        return name in _LOST or "lost" in (self._element.findtext("uuid") or "")

    def facts(self) -> dict[str, Any]:
        """What a result tells of it."""
        memory, heat = self.number("fb_memory_usage/total"), self.number("temperature/gpu_temp")
        return {
            "index": self.index,
            "name": self.text("product_name") or None,
            "uuid": self.text("uuid") or None,
            "pci": self._element.get("id") or None,
            "memory_mib": None if memory is None else int(memory),
            "temperature": None if heat is None else int(heat),
            "mig": self.text("mig_mode/current_mig") or None,
            "slices": self.slices(),
        }


class Answer(NamedTuple):
    """What nvidia-smi said; `problem` and the way out of it when it was no answer."""

    gpus: list[Gpu]
    seconds: float = 0.0
    problem: str = ""
    fix: str = ""


def ask(machine: Machine) -> Answer:
    """All GPUs, or why there are none to be told of."""
    if not machine.which("nvidia-smi"):
        fix = "install the driver's utilities: nvidia-utils of its branch, on Debian nvidia-smi"
        return Answer([], problem="not there", fix=fix)
    outcome = machine.ask("nvidia-smi", "-q", "-x")
    if outcome.timed_out:
        fix = "the driver hangs: reboot; if it hangs again, the kernel log says why (Xid, NVRM)"
        return Answer([], outcome.seconds, f"no answer in {machine.deadline:g} s", fix)
    try:
        log = ElementTree.fromstring(outcome.stdout)  # noqa: S314 — nvidia-smi's own
    except ElementTree.ParseError:
        said = outcome.said.splitlines() or [f"exit status {outcome.rc}, and no word"]
        return Answer([], outcome.seconds, said[0], _advice(outcome))
    gpus = [Gpu(index, each) for index, each in enumerate(log.findall("gpu"))]
    if not gpus:
        return Answer([], outcome.seconds, outcome.stderr.strip() or "no GPU", _advice(outcome))
    return Answer(gpus, outcome.seconds)


def slices(machine: Machine) -> dict[int, list[str]] | None:
    """The MIG devices' profiles by the number of their GPU; None when nvidia-smi doesn't tell."""
    outcome = machine.ask("nvidia-smi", "-L")
    if outcome.rc != 0:
        return None
    found: dict[int, list[str]] = {}
    current = -1
    for line in outcome.stdout.splitlines():
        words = line.split()
        if line.startswith("GPU ") and len(words) > 1 and words[1].rstrip(":").isdigit():
            current = int(words[1].rstrip(":"))
            found[current] = []
        elif words[:1] == ["MIG"] and len(words) > 1 and current in found:
            found[current].append(words[1])
    return found


def _advice(outcome: process.Outcome) -> str:
    said = outcome.stdout + outcome.stderr
    if "version mismatch" in said:
        return "reboot: the driver was updated while the old one stayed loaded"
    if "communicate with the NVIDIA driver" in said:
        return "load the driver: modprobe nvidia, which says why it can't"
    if "is lost" in said or "device handle" in said:
        return "power the host off and on: a GPU no longer answers on the PCI bus"
    return "see why the driver can't start a GPU: dmesg | grep -i nvrm"
