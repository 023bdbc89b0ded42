"""nvidia_check's truth table on replayed hosts: healthy ones, and every row good and bad."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from nvidia_replay import SAID, VERSION, Replay, recorded

from provisioner.remote.module import ModuleFailed

Rows = dict[str, dict[str, Any]]
PROGRAM_MISSING = 'k3s kubectl: Error from server (NotFound): runtimeclasses "nvidia" not found'


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not shutil.which("gcc"):
        pytest.skip("gcc, which builds the stand-ins for NVIDIA's libraries, is not here")
    return tmp_path_factory.mktemp("libraries")


@pytest.fixture
def host(tmp_path: Path, built: Path) -> Replay:
    return Replay(tmp_path, built)


class Ollama:
    """Stands in for an Ollama: just /api/ps."""

    def __init__(self) -> None:
        self.models: list[dict[str, Any]] = []
        ps = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = json.dumps({"models": ps.models}).encode()
                self.send_response(200 if self.path == "/api/ps" else 404)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *words: Any) -> None:
                pass

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def loads(self, size: int, in_gpu: int) -> None:
        self.models = [{"name": "llama3.2:latest", "size": size, "size_vram": in_gpu}]


@pytest.fixture(scope="module")
def server() -> Iterator[Ollama]:
    ollama = Ollama()
    thread = Thread(target=ollama.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield ollama
    ollama.server.shutdown()
    thread.join()
    ollama.server.server_close()


@pytest.fixture
def ollama(server: Ollama) -> Ollama:
    server.loads(4000, 4000)
    return server


def table(apply: Any, host: Replay, **arguments: Any) -> Rows:
    """The rows by their names, whatever the module makes of them."""
    try:
        result = apply("nvidia_check", **{**host.arguments, **arguments})
    except ModuleFailed as failure:
        result = failure.extra
    rows = {row["name"]: row for row in result["checks"]}
    assert len(rows) == len(result["checks"]), "two rows of one name"
    for row in rows.values():
        assert set(row) == {"name", "ok", "severity", "found", "wanted", "fix"}
        assert bool(row["fix"]) is not row["ok"], row
    return rows


def failed(rows: Rows, severity: str = "error") -> set[str]:
    return {name for name, row in rows.items() if not row["ok"] and row["severity"] == severity}


def skipped(rows: Rows) -> set[str]:
    return {name for name, row in rows.items() if row["severity"] == "skip"}


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
        f"case \"$*\" in *runtimeclass*) echo '{PROGRAM_MISSING}' >&2; exit 1;; "
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


class TestXids:
    def test_those_of_programs_are_told_and_no_failure(self, apply: Any, host: Replay) -> None:
        host.h100()
        xid("xid_31")(host)
        row = table(apply, host)["Xid errors"]
        assert row["ok"] and row["found"] == "31, of programs"

    def test_the_gravest_says_what_to_do(self, apply: Any, host: Replay) -> None:
        host.h100()
        mild = SAID["xid_31"].replace(": 31,", ": 63,")
        host.says("journalctl", mild + SAID["xid_31"] + SAID["xid_79"])
        row = table(apply, host)["Xid errors"]
        assert row["severity"] == "error" and "riser" in row["fix"]
        assert row["found"].startswith("79 of 0000:01:00 (it has fallen off the bus); 63 of ")

    def test_a_strange_one_is_a_warning(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.says("journalctl", SAID["xid_31"].replace(": 31,", ": 999,"))
        row = table(apply, host)["Xid errors"]
        assert not row["ok"] and row["severity"] == "warn" and "docs.nvidia.com" in row["fix"]

    def test_without_a_journal_dmesg_is_asked(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.program("journalctl", "echo 'No journal files were found.' >&2; exit 1")
        host.says("dmesg", "[   12.3] " + SAID["xid_79"])
        assert not table(apply, host)["Xid errors"]["ok"]
        host.program("dmesg", "exit 1")
        assert "Xid errors" in skipped(table(apply, host))


class TestMig:
    @pytest.fixture
    def sliced(self, host: Replay) -> Replay:
        host.single("a100-mig", "01", "535.54.03")
        host.smi(listing=(recorded_list()))
        return host

    @pytest.mark.parametrize(
        ("wanted", "well"),
        [(["1g.10gb"] * 4, True), (["1g.10gb"] * 7, False), (["3g.40gb"], False), ([], False)],
    )
    def test_slices_are_compared(
        self, apply: Any, sliced: Replay, wanted: list[str], well: bool
    ) -> None:
        row = table(apply, sliced, mig=wanted)["MIG"]
        assert (row["ok"], row["found"]) == (well, "gpu 0: 4 x 1g.10gb")
        assert well or "allow_reconfigure" in row["fix"]

    def test_a_gpu_that_can_be_cut_but_is_not(self, apply: Any, host: Replay) -> None:
        host.h100()
        assert not table(apply, host, mig=["1g.10gb"])["MIG"]["ok"]
        assert table(apply, host, mig=[])["MIG"]["ok"]

    def test_the_device_plugin_offers_slices(self, apply: Any, sliced: Replay) -> None:
        sliced.k3s(gpus={"nvidia.com/mig-1g.10gb": "4", "nvidia.com/gpu": "0"})
        assert table(apply, sliced, scope="all")["allocatable"]["ok"]


def recorded_list() -> str:
    from nvidia_replay import RECORDED

    return (RECORDED / "a100-mig-list.txt").read_text()


class TestContainers:
    def test_containerd_2_writes_it_otherwise(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.k3s(containerd=SAID["containerd_2"])
        assert table(apply, host, scope="all")["k3s runtime"]["ok"]

    def test_an_api_that_does_not_answer_is_not_judged(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.program("k3s", "echo 'The connection to the server was refused' >&2; exit 1")
        rows = table(apply, host, scope="all")
        assert {"RuntimeClass", "allocatable"} <= skipped(rows)
        assert "refused" in rows["allocatable"]["found"]

    def test_a_node_that_is_not_registered_yet(self, apply: Any, host: Replay) -> None:
        host.h100()
        (host.folder / "nodes.json").write_text('{"items": []}')
        assert "no node" in table(apply, host, scope="all")["allocatable"]["found"]

    def test_the_toolkit_may_be_ignored(self, apply: Any, host: Replay) -> None:
        host.h100()
        no_runtime(host)
        assert failed(table(apply, host), "warn") == {"container toolkit"}
        assert "container toolkit" not in table(apply, host, toolkit="ignore")


class TestOllama:
    NAME = "Ollama on the GPU"

    @pytest.mark.parametrize(
        ("in_gpu", "ok", "severity"),
        [(4000, True, "warn"), (0, False, "error"), (3000, False, "warn")],
    )
    def test_by_what_is_loaded(
        self, apply: Any, host: Replay, ollama: Ollama, in_gpu: int, ok: bool, severity: str
    ) -> None:
        host.h100()
        ollama.loads(4000, in_gpu)
        row = table(apply, host, scope="all", ollama_url=ollama.url)[self.NAME]
        assert (row["ok"], row["severity"]) == (ok, severity)
        assert row["found"] == f"llama3.2:latest: {in_gpu // 40}%"

    @pytest.mark.parametrize(
        ("said", "ok"), [("ollama_cuda", True), ("ollama_cuda_old", True), ("ollama_cpu", False)]
    )
    def test_by_its_log(
        self, apply: Any, host: Replay, ollama: Ollama, said: str, ok: bool
    ) -> None:
        host.h100()
        ollama.models = []
        host.says("journalctl", SAID[said])
        row = table(apply, host, scope="all", ollama_url=ollama.url)[self.NAME]
        assert row["ok"] is ok and row["severity"] == "error"

    def test_not_judged(self, apply: Any, host: Replay, ollama: Ollama) -> None:
        host.h100()
        ollama.models = []
        for url in ("", "http://127.0.0.1:9", ollama.url):
            assert self.NAME in skipped(table(apply, host, scope="all", ollama_url=url))
