"""How the GPUs are cut into MIG slices. Not of Ansible. Arguments: `slices`, of each GPU.

No slices means that MIG is off. Slices can only be cut anew on a GPU that nothing uses: where a
program computes on one, the task fails before anything is touched. Returns `reboot`, true where a
GPU takes up the mode only after the host has booted; another run then cuts the slices.
"""

from __future__ import annotations

from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.nvidia import mig, smi
from provisioner.remote.nvidia.machine import Machine
from provisioner.remote.nvidia.smi import Gpu

ARGUMENTS = {
    "slices": Argument("list", required=True),
    "deadline": Argument("float", default=60.0),
    "search_path": Argument("str", default=""),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """See that each GPU has just these slices."""
    machine = Machine(search_path=arguments["search_path"], deadline=arguments["deadline"])
    wanted: list[str] = arguments["slices"]
    gpus = _gpus(machine)
    layout = smi.slices(machine) or {}
    wrong = [gpu for gpu in gpus if not mig.is_cut(gpu, layout.get(gpu.index, []), wanted)]
    result: Result = {"changed": bool(wrong), "reboot": False}
    _refuse(wrong, wanted)
    if not wrong or context.check:
        return result
    if _switch(machine, wrong, bool(wanted)):
        return {**result, "reboot": True, "msg": "the mode changes with the next boot"}
    for gpu in wrong if wanted else ():
        _cut(machine, gpu.index, wanted)
    layout = smi.slices(machine) or {}
    for gpu in _gpus(machine):
        own = layout.get(gpu.index, [])
        if not mig.is_cut(gpu, own, wanted):
            message = f"{gpu.label} has {mig.describe(own)}, wanted {mig.describe(wanted)}"
            raise ModuleFailed(
                message, advice=f"nvidia-smi mig -lgip -i {gpu.index} lists what fits"
            )
    return result


def _gpus(machine: Machine) -> list[Gpu]:
    answer = smi.ask(machine)
    if answer.problem:
        raise ModuleFailed(f"nvidia-smi: {answer.problem}", advice=answer.fix)
    return answer.gpus


def _refuse(wrong: list[Gpu], wanted: list[str]) -> None:
    """Raise for GPUs that can't be cut, now or ever."""
    for gpu in wrong:
        if not gpu.text("mig_mode/current_mig"):
            advice = "leave nvidia.mig out for this host"
            raise ModuleFailed(f"{gpu.label} can't be cut into slices", advice=advice)
        if busy := gpu.computing():
            message = f"{gpu.label} is used by the processes {', '.join(busy)}"
            raise ModuleFailed(message, advice="stop them (workers, Ollama), then run again")


def _switch(machine: Machine, wrong: list[Gpu], on: bool) -> bool:
    """Clear the slices and switch the mode of those GPUs; whether that takes a boot."""
    state = "Enabled" if on else "Disabled"
    for gpu in wrong:
        if gpu.text("mig_mode/current_mig") == "Enabled":
            # the compute instances first; where there are none, that is an error of no weight
            machine.ask("nvidia-smi", "mig", "-i", str(gpu.index), "-dci")
            machine.ask("nvidia-smi", "mig", "-i", str(gpu.index), "-dgi")
        if gpu.text("mig_mode/current_mig") != state:
            _do(machine, "-i", str(gpu.index), "-mig", str(int(on)))
    indices = {gpu.index for gpu in wrong}
    return any(
        gpu.index in indices and gpu.text("mig_mode/current_mig") != state for gpu in _gpus(machine)
    )


def _cut(machine: Machine, index: int, wanted: list[str]) -> None:
    _do(machine, "mig", "-i", str(index), "-cgi", ",".join(wanted), "-C")


def _do(machine: Machine, *words: str) -> process.Outcome:
    outcome = machine.ask("nvidia-smi", *words)
    if outcome.rc != 0:
        said = "no answer in time" if outcome.timed_out else outcome.said
        raise ModuleFailed(f"nvidia-smi {' '.join(words)}: {said}", rc=outcome.rc)
    return outcome
