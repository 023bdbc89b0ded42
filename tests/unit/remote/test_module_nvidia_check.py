"""nvidia_check's truth table on replayed hosts: healthy ones, and every row good and bad."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from nvidia_replay import SAID, VERSION, Ollama, Replay, failed, recorded, skipped, table

from provisioner.remote.module import ModuleFailed

NO_RUNTIME_CLASS = 'k3s kubectl: Error from server (NotFound): runtimeclasses "nvidia" not found'


EVERYTHING = {"required": True, "scope": "all", "min_driver": "535", "toolkit": "error"}
EVERYTHING |= {"min_gpus": 8, "min_memory_mib": 80000}


def test_eight_h100_are_well_to_the_last_row(apply: Any, host: Replay, ollama: Ollama) -> None:
    host.h100()
    result = apply("nvidia_check", **host.arguments, **EVERYTHING, ollama_url=ollama.url)
    assert result["gpu"] and not result["warnings"] and not result["changed"]
    assert (result["driver_version"], len(result["gpus"])) == (VERSION, 8)
    assert result["gpus"][0]["name"] == "NVIDIA H100 80GB HBM3"
    assert result["gpus"][7]["pci"] == "00000000:DB:00.0"
    rows = {row["name"]: row for row in result["checks"]}
    assert skipped(rows) == set()
    assert rows["CUDA"]["found"] == "CUDA 12.4, 8 GPUs"
    assert rows["fabric manager"]["found"] == "4 NVSwitches, it runs"
    assert rows["allocatable"]["found"] == "8 x gpu"


@pytest.mark.parametrize(
    ("name", "place", "version", "warned", "not_judged"),
    [
        ("a10g", "00", "515.105.01", {"persistence mode", "PCIe"}, {"MIG"}),
        ("rtx-3080", "0c", "595.58.03", {"persistence mode"}, {"ECC", "ECC errors", "MIG"}),
        ("a100-mig", "01", "535.54.03", {"persistence mode", "MIG"}, {"memory repairs"}),
    ],
)
def test_other_kinds_are_usable(
    apply: Any,
    host: Replay,
    name: str,
    place: str,
    version: str,
    warned: set[str],
    not_judged: set[str],
) -> None:
    host.single(name, place, version)
    rows = table(apply, host, required=True)
    assert (failed(rows), failed(rows, "warn")) == (set(), warned)
    assert not_judged | {"fabric manager"} <= skipped(rows)


def lost(host: Replay) -> None:
    host.says("nvidia-smi", SAID["lost"], 255)


def crippled(host: Replay) -> None:
    host.other("NVIDIA H100 80GB HBM3", "GPU is lost")


def hangs(host: Replay) -> None:
    host.program("nvidia-smi", "exec sleep 60")


def no_runtime_class(host: Replay) -> None:
    host.program(
        "k3s",
        f"case \"$*\" in *runtimeclass*) echo '{NO_RUNTIME_CLASS}' >&2; exit 1;; "
        f"*) cat '{host.folder}/nodes.json';; esac",
    )


def unsigned(host: Replay) -> None:
    (host.folder / "proc/driver/nvidia/version").unlink()
    host.secure_boot(True)
    host.says("modinfo", "565.57.01")


def no_driver(host: Replay) -> None:
    (host.folder / "proc/driver/nvidia/version").unlink()


def no_gpu(host: Replay) -> None:
    for path in (host.folder / "sys/bus/pci/devices").iterdir():
        (path / "vendor").write_text("0x8086\n")


def no_runtime(host: Replay) -> None:
    (host.folder / "bin/nvidia-container-runtime").unlink()


def xid(name: str) -> Callable[[Replay], None]:
    return lambda host: host.says("journalctl", SAID[name])


def other(old: str, new: str) -> Callable[[Replay], None]:
    return lambda host: host.other(old, new)


def library(name: str, **words: Any) -> Callable[[Replay], None]:
    return lambda host: host.library(name, **words)


GEN5 = "<current_link_gen>5</current_link_gen>"
LIMIT = "<current_power_limit>700.00 W</current_power_limit>"
BRAKE = "hw_power_brake_slowdown>Not Active<"
HOT = "hw_thermal_slowdown>Not Active<"
# A row, what makes it bad on a healthy host, how grave that is, and what must be said to do.
BAD: list[tuple[str, Callable[[Replay], Any], str, str]] = [
    ("GPUs on the PCI bus", no_gpu, "error", "attach a GPU"),
    ("nouveau", lambda host: host.module("nouveau"), "error", "blacklist nouveau"),
    ("driver", no_driver, "error", "nvidia.install_driver"),
    ("driver", unsigned, "error", "modprobe nvidia"),
    ("driver version", lambda host: host.driver("470.10"), "error", "newer driver"),
    ("secure boot", unsigned, "error", "mokutil"),
    ("driver and libraries", lambda host: host.libraries("570.1"), "error", "reboot"),
    ("nvidia-smi", lambda host: host.says("nvidia-smi", SAID["mismatch"], 18), "error", "reboot"),
    ("nvidia-smi", lambda host: host.says("nvidia-smi", SAID["no_driver"], 9), "error", "modprobe"),
    ("nvidia-smi", hangs, "error", "hangs"),
    ("nvidia-smi", lost, "error", "power the host off"),
    ("NVML", library("libnvidia-ml", CODE=18), "error", "reboot"),
    ("NVML", library("libnvidia-ml", CODE=9), "error", "modprobe nvidia"),
    ("CUDA", library("libcuda", CODE=802), "error", "nvidia-fabricmanager"),
    ("CUDA", library("libcuda", CODE=803), "error", "reboot"),
    ("CUDA", library("libcuda", CODE=804), "error", "cuda-compat"),
    ("CUDA", library("libcuda", CODE=999), "error", "nvidia-uvm"),
    ("CUDA", library("libcuda", CRASHES=1), "error", "anew"),
    ("GPUs usable", crippled, "error", "power the host off"),
    ("GPUs usable", lambda host: host.device("ee"), "error", "power the host off"),
    ("fabric manager", lambda host: host.process("bash"), "error", "exactly version 565.57.01"),
    ("fabric manager", library("libcuda", CODE=802), "error", "nvidia-fabricmanager"),
    ("fabric manager", other("<status>Success", "<status>In Progress"), "error", "enable"),
    ("Xid errors", xid("xid_79"), "error", "power the host off"),
    ("GPU count", lambda host: host.smi(recorded("h100-sxm")), "error", "more GPUs"),
    ("GPU memory", other("81559 MiB", "40960 MiB"), "error", "larger"),
    ("persistence mode", other("mode>Enabled<", "mode>Disabled<"), "warn", "nvidia-persistenced"),
    ("ECC", other("current_ecc>Enabled", "current_ecc>Disabled"), "warn", "nvidia-smi -e 1"),
    ("ECC errors", other("dram_uncorrectable>0", "dram_uncorrectable>2"), "warn", "reset"),
    ("memory repairs", other("row_failure>No", "row_failure>Yes"), "error", "replaced"),
    ("memory repairs", other("retired_count>N/A", "retired_count>64"), "error", "replaced"),
    ("memory repairs pending", other("row_pending>No", "row_pending>Yes"), "warn", "reset"),
    ("temperature", other(HOT, HOT.replace("Not ", "")), "warn", "cooling"),
    ("temperature", other("tlimit>57 C", "tlimit>-2 C"), "warn", "cooling"),
    ("power limit", other(LIMIT, LIMIT.replace("700", "350")), "warn", "nvidia-smi -pl"),
    ("power", other(BRAKE, BRAKE.replace("Not ", "")), "warn", "power supply"),
    ("PCIe", other("width>16x</current", "width>8x</current"), "warn", "seat"),
    ("PCIe", other(GEN5, GEN5.replace("5", "3")), "warn", "seat"),
    ("kind", other("NVIDIA H100 80GB HBM3", "NVIDIA H200"), "warn", "one kind"),
    ("MIG", other("current_mig>Disabled", "current_mig>Enabled"), "warn", "nvidia.mig"),
    ("container toolkit", no_runtime, "error", "nvidia.toolkit"),
    (
        "k3s runtime",
        lambda host: host.k3s(containerd=SAID["containerd_without"]),
        "error",
        "restart k3s",
    ),
    ("RuntimeClass", no_runtime_class, "error", "b9prov up"),
    ("allocatable", lambda host: host.k3s(gpus=7), "error", "device plugin"),
    ("allocatable", lambda host: host.k3s(gpus={}), "error", "device plugin"),
]


@pytest.mark.parametrize(
    ("row", "spoil", "severity", "fix"), BAD, ids=[f"{n}-{row[0]}" for n, row in enumerate(BAD)]
)
def test_a_row_that_is_bad(
    apply: Any,
    host: Replay,
    ollama: Ollama,
    row: str,
    spoil: Callable[[Replay], Any],
    severity: str,
    fix: str,
) -> None:
    host.h100()
    spoil(host)
    rows = table(apply, host, **EVERYTHING, ollama_url=ollama.url, deadline=2)
    assert row in failed(rows, severity), rows[row]
    assert fix in rows[row]["fix"]


def test_every_row_is_seen_good_and_bad(apply: Any, host: Replay, ollama: Ollama) -> None:
    host.h100()
    rows = table(apply, host, **EVERYTHING, ollama_url=ollama.url)
    of_ollama = {"Ollama on the GPU"}  # whose cases are below
    assert set(rows) - of_ollama == {row for row, *_ in BAD}
    lines = (Path(__file__).parents[3] / "docs/gpu.md").read_text().splitlines()
    cells = [line.split("|")[1] for line in lines if line.startswith("| `")]
    named = {name for cell in cells for name in re.findall("`([^`]+)`", cell)}
    assert set(rows) == named


def test_a_newer_driver_counts_its_ecc_errors_by_how_they_were_found(
    apply: Any, host: Replay
) -> None:
    host.h100()
    host.other("uncorrectable_parity>0", "uncorrectable_parity>3")
    assert "gpu 0: 3 uncorrected" in table(apply, host)["ECC errors"]["found"]


def test_an_idle_gpu_may_slow_its_bus_down(apply: Any, host: Replay) -> None:
    host.h100()
    host.other(GEN5, GEN5.replace("5", "1"))
    host.other("<performance_state>P0", "<performance_state>P8")
    assert table(apply, host)["PCIe"]["ok"]


def test_what_hangs_is_killed_and_waited_for_once(apply: Any, host: Replay) -> None:
    host.h100()
    hangs(host)
    host.library("libnvidia-ml", HANGS=1)
    host.library("libcuda", HANGS=1)
    started = time.monotonic()
    rows = table(apply, host, deadline=1)
    assert time.monotonic() - started < 2.5
    assert {"nvidia-smi", "NVML", "CUDA"} <= failed(rows)
    assert all("1 s" in rows[name]["found"] for name in ("nvidia-smi", "NVML", "CUDA"))


def test_nothing_is_there_but_gpus(apply: Any, host: Replay) -> None:
    host.device("01")
    rows = table(apply, host, required=True, scope="all")
    assert failed(rows) == {"driver"} and failed(rows, "warn") == {"container toolkit"}
    assert {"secure boot", "k3s runtime", "RuntimeClass", "allocatable"} <= skipped(rows)


def test_a_driver_without_its_tools(apply: Any, host: Replay) -> None:
    host.device("01")
    host.driver(text=SAID["version_open"])
    rows = table(apply, host, min_driver="550")
    assert rows["driver version"]["found"] == "555.42.06"
    assert failed(rows) == {"nvidia-smi", "NVML", "CUDA"}
    assert "libcuda.so" in rows["CUDA"]["fix"] and "libnvidia-ml.so" in rows["NVML"]["fix"]


@pytest.mark.parametrize("required", ["auto", False])
def test_a_host_without_gpu(apply: Any, host: Replay, required: Any) -> None:
    host.device("01", vendor="0x8086")
    result = apply("nvidia_check", **host.arguments, required=required, scope="all")
    assert not result["gpu"] and result["gpus"] == []


def test_on_a_host_that_needs_none_a_broken_gpu_is_worth_a_word(apply: Any, host: Replay) -> None:
    host.device("01")
    result = apply("nvidia_check", **host.arguments, required=False)
    assert any("driver: found none" in warning for warning in result["warnings"])


def test_the_failure_says_every_way_out(apply: Any, host: Replay) -> None:
    host.h100()
    no_driver(host)
    host.module("nouveau")
    with pytest.raises(ModuleFailed, match="2 of ") as caught:
        apply("nvidia_check", **host.arguments)
    assert "blacklist nouveau" in caught.value.extra["advice"]
    assert "install_driver" in caught.value.extra["advice"]
