"""Whether this host's NVIDIA GPUs can be used: a truth table, gathered in one pass.

`required` is true, false (GPUs don't matter) or auto (they matter if there are any). `scope` is
`hardware`, from the PCI bus to the container toolkit, or `all`, with what k3s and Ollama make of
them. Nothing is installed or changed: each row that failed names one way out. What can't be judged
is a row of severity `skip` and no failure. `gpus` lists what nvidia-smi sees, `present` and
`switches` say how many GPUs and NVSwitches are on the PCI bus.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.checks import ERROR, WARN, Checks
from provisioner.remote.module import Context, Result
from provisioner.remote.nvidia import condition, containers, driver, mig, ollama, xid
from provisioner.remote.nvidia.machine import GPU, NVSWITCH, Machine
from provisioner.remote.nvidia.smi import Gpu

ARGUMENTS = {
    "required": Argument("str", default="auto", choices=("true", "false", "auto")),
    "scope": Argument("str", default="hardware", choices=("hardware", "all")),
    "min_driver": Argument("str"),
    "min_memory_mib": Argument("int"),
    "min_gpus": Argument("int"),
    "mig": Argument("list"),
    "toolkit": Argument("str", default="warn", choices=("error", "warn", "ignore")),
    "ollama_url": Argument("str", default=""),
    "kubectl": Argument("list", default=["k3s", "kubectl"]),
    "node": Argument("str", default=""),
    "containerd": Argument("str", default=containers.CONTAINERD),
    "deadline": Argument("float", default=20.0),
    "sysfs": Argument("str", default="/sys"),
    "procfs": Argument("str", default="/proc"),
    "search_path": Argument("str", default=""),
    "libraries": Argument("str", default=""),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Look at everything."""
    machine = Machine(
        Path(arguments["sysfs"]),
        Path(arguments["procfs"]),
        arguments["search_path"],
        arguments["libraries"],
        arguments["deadline"],
    )
    checks = Checks()
    gpus = _table(machine, arguments, checks)
    if arguments["required"] == "false":
        # on a host that needs no GPU a broken one is worth a word, no more
        for row in checks.found:
            row["severity"] = WARN if row["severity"] == ERROR else row["severity"]
    facts = [gpu.facts() for gpu in gpus]
    return checks.finish(
        "NVIDIA",
        gpu=bool(facts),
        gpus=facts,
        present=len(machine.pci(GPU)),
        switches=len(machine.pci(NVSWITCH)),
        driver_version=machine.driver(),
    )


def _table(machine: Machine, arguments: dict[str, Any], checks: Checks) -> list[Gpu]:
    present = machine.pci(GPU)
    wanted = "at least one" if arguments["required"] == "true" else "any number"
    places = f" ({', '.join(present)})" if len(present) <= 2 else ""
    found = f"{len(present)}{places}" if present else "none"
    fix = "attach a GPU, or set gpu: false in the inventory for this host"
    well = bool(present) or arguments["required"] != "true"
    checks.add("GPUs on the PCI bus", well, found, wanted, fix)
    if not present:
        return []
    told = driver.rows(machine, checks, len(present), arguments["min_driver"])
    gpus = told.smi.gpus if told else []
    if told:
        driver.fabric(machine, checks, told)
    xid.rows(machine, checks)
    if gpus:
        _enough(gpus, arguments, checks)
        condition.rows(gpus, checks)
        mig.rows(machine, gpus, checks, arguments["mig"])
    if arguments["toolkit"] != "ignore":
        containers.toolkit(machine, checks, arguments["toolkit"])
    if arguments["scope"] == "all":
        words = (arguments["kubectl"], arguments["node"], arguments["containerd"])
        containers.rows(machine, checks, gpus, containers.Cluster(*words))
        ollama.rows(machine, checks, arguments["ollama_url"])
    return gpus


def _enough(gpus: list[Gpu], arguments: dict[str, Any], checks: Checks) -> None:
    least = arguments["min_gpus"]
    if least:
        checks.add("GPU count", len(gpus) >= least, len(gpus), least, "use a host with more GPUs")
    memory = arguments["min_memory_mib"]
    if memory:
        sizes = [int(gpu.number("fb_memory_usage/total") or 0) for gpu in gpus]
        found = ", ".join(f"{size} MiB" for size in sorted(set(sizes)))
        well = min(sizes) >= memory
        checks.add("GPU memory", well, found, f"{memory} MiB each", "use larger GPUs")
