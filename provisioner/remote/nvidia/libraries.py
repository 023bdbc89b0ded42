"""NVIDIA's libraries, asked by ctypes in processes of their own: a call into a sick driver may hang
for good, or take the process with it."""

from __future__ import annotations

import json
import re
import signal
import sys
from pathlib import Path
from typing import NamedTuple

from provisioner.remote import process
from provisioner.remote.nvidia.machine import Machine

PLACES = ("", "/usr/local/nvidia/lib64", "/run/nvidia/driver/usr/lib/x86_64-linux-gnu")
"""Where a library is looked for; the first is the linker's own way."""

_LOAD = """
import ctypes, json, os, sys
os.environ.pop("CUDA_VISIBLE_DEVICES", None)
name, told = sys.argv[1], {"missing": "", "code": None, "error": "", "version": "", "count": None}
for place in sys.argv[2:]:
    try:
        library = ctypes.CDLL(os.path.join(place, name))
        break
    except OSError as problem:
        told["missing"] = told["missing"] or str(problem)
else:
    sys.exit(print(json.dumps(told)))
count, number, text = ctypes.c_int(), ctypes.c_int(), ctypes.create_string_buffer(80)
with open("/proc/self/maps") as maps:
    stem = name.partition(".so")[0] + ".so"
    files = [line.split(None, 5)[5].strip() for line in maps if "/" + stem in line]
told.update(missing="", file=files[0] if files else "")
"""
_NVML = """
told["code"] = library.nvmlInit_v2()
library.nvmlErrorString.restype = ctypes.c_char_p
if told["code"]:
    told["error"] = (library.nvmlErrorString(told["code"]) or b"").decode()
else:
    library.nvmlSystemGetDriverVersion(text, 80)
    library.nvmlDeviceGetCount_v2(ctypes.byref(count))
    told.update(version=text.value.decode(), count=count.value)
print(json.dumps(told))
"""
_CUDA = """
told["code"] = library.cuInit(0)
if told["code"]:
    said = ctypes.c_char_p()
    library.cuGetErrorString(told["code"], ctypes.byref(said))
    told["error"] = (said.value or b"").decode()
else:
    library.cuDriverGetVersion(ctypes.byref(number))
    library.cuDeviceGetCount(ctypes.byref(count))
    version = "%d.%d" % (number.value // 1000, number.value % 1000 // 10)
    told.update(version=version, count=count.value)
print(json.dumps(told))
"""
_NVML_FIXES = {
    4: "let root ask: the devices /dev/nvidia* are closed even to it",
    9: "load the driver: modprobe nvidia",
    15: "power the host off and on: a GPU no longer answers on the PCI bus",
    18: "reboot: the driver was updated while the old one stayed loaded",
}
_CUDA_FIXES = {
    34: "take CUDA's stub of libcuda out of the linker's path",
    46: "end what holds the GPU in exclusive mode, or: nvidia-smi -c DEFAULT",
    100: "see why the driver can't start a GPU: dmesg | grep -i nvrm",
    802: "install nvidia-fabricmanager of exactly the driver's version, and enable and start it",
    803: "reboot: the driver was updated while the old one stayed loaded",
    804: "take the cuda-compat libraries out of the linker's path: this GPU can't use them",
    805: "start the MPS control daemon again, or do without it",
    999: "load the module that CUDA needs: modprobe nvidia-uvm",
}
_VERSIONED = re.compile(r"\.so\.(\d+(?:\.\d+)+)$")


class Told(NamedTuple):
    """What a library said; `code` is 0 when all is well and None when it gave no answer."""

    code: int | None
    error: str
    fix: str
    version: str = ""
    gpus: int | None = None
    file: str = ""

    @property
    def file_version(self) -> str:
        """The driver's version that the library belongs to, as its file is named."""
        match = _VERSIONED.search(self.file)
        return match[1] if match else ""


def nvml(machine: Machine) -> Told:
    """Whether NVML starts; `version` is the driver's."""
    return _ask(machine, "libnvidia-ml.so.1", _NVML, _NVML_FIXES)


def cuda(machine: Machine) -> Told:
    """Whether CUDA starts; `version` is the newest CUDA that the driver can do."""
    return _ask(machine, "libcuda.so.1", _CUDA, _CUDA_FIXES)


def _ask(machine: Machine, name: str, code: str, fixes: dict[int, str]) -> Told:
    places = (machine.libraries,) if machine.libraries else PLACES
    argv = [sys.executable or "python3", "-I", "-S", "-c", _LOAD + code, name, *places]
    outcome = process.run(argv, timeout=machine.deadline)
    if outcome.timed_out:
        return Told(None, f"no answer in {machine.deadline:g} s", "reboot: the driver hangs")
    try:
        said = json.loads(outcome.stdout)
    except ValueError:
        return Told(None, _end(outcome), "install the driver's libraries anew, then reboot")
    if said["missing"]:
        fix = f"install the driver's libraries: {Path(name).stem} is missing"
        return Told(None, said["missing"], fix)
    number = int(said["code"])
    fix = fixes.get(number, "see what the driver says: dmesg | grep -i nvrm") if number else ""
    error = f"error {number}: {said['error'] or 'unknown'}" if number else ""
    return Told(number, error, fix, said["version"], said["count"], said["file"])


def _end(outcome: process.Outcome) -> str:
    if outcome.rc < 0:
        return f"it died of {signal.Signals(-outcome.rc).name}"
    return (outcome.said.splitlines() or [f"exit status {outcome.rc}, and no word"])[-1]
