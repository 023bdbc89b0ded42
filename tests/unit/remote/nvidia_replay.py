"""A host with NVIDIA GPUs, replayed: /sys and /proc made up, programs and libraries stood in for,
what they say recorded from real machines (recorded/README.md)."""

from __future__ import annotations

import json
import subprocess
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import yaml

from provisioner.remote.module import ModuleFailed

Rows = dict[str, dict[str, Any]]
RECORDED = Path(__file__).parent / "recorded"
SAID: dict[str, str] = yaml.safe_load((RECORDED / "said.yaml").read_text())
SOURCE = Path(__file__).with_name("nvidia_stand_in.c")
VERSION = "565.57.01"
MODULE = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {}  Mon Jan  1 00:00:00 UTC 2024\n"
PLACES = ("18", "2A", "3A", "5D", "9A", "AB", "BA", "DB")  # of an HGX H100's GPUs
SECURE_BOOT = "sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"


def recorded(name: str) -> str:
    """The XML of a recording."""
    return (RECORDED / f"{name}.xml").read_text()


def eight_h100() -> str:
    """The recording of H100s with all eight: the second one's, moved to each place."""
    head, first, second = recorded("h100-sxm").split("\t<gpu id=")
    second, tail = second[: second.index("</nvidia_smi_log>")], "</nvidia_smi_log>\n"
    more = [second.replace(":2A:", f":{place}:") for place in PLACES[1:]]
    return "\t<gpu id=".join([head, first, *more]) + tail


class Replay:
    """A host to be looked at; `built` keeps compiled libraries, for they take a while. `place` is
    what the host itself calls the folder."""

    def __init__(self, folder: Path, built: Path, place: str = "") -> None:
        self.folder, self._built, self._place = folder, built, place or str(folder)
        for name in ("sys/bus/pci/devices", "sys/module", "proc/sys/kernel", "bin", "lib"):
            (folder / name).mkdir(parents=True)
        (folder / "proc/sys/kernel/hostname").write_text("worker\n")
        self.xml = ""
        self.says("journalctl", "", 1)
        self.program("dmesg", "exit 0")

    @property
    def arguments(self) -> dict[str, Any]:
        """For `nvidia_check` and `nvidia_mig` to look here."""
        return {
            "sysfs": str(self.folder / "sys"),
            "procfs": str(self.folder / "proc"),
            "search_path": f"{self.folder / 'bin'}:/bin:/usr/bin",
            "libraries": str(self.folder / "lib"),
            "containerd": str(self.folder / "config.toml"),
        }

    def device(self, place: str, kind: str = "0x030200", vendor: str = "0x10de") -> None:
        """A device on the PCI bus."""
        path = self.folder / f"sys/bus/pci/devices/0000:{place.lower()}:00.0"
        path.mkdir(exist_ok=True)
        (path / "vendor").write_text(vendor + "\n")
        (path / "class").write_text(kind + "\n")

    def module(self, name: str) -> None:
        """A module that the kernel has loaded."""
        (self.folder / "sys/module" / name).mkdir()

    def driver(self, version: str = VERSION, text: str = "") -> None:
        """The driver that is loaded."""
        path = self.folder / "proc/driver/nvidia/version"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text or MODULE.format(version))

    def process(self, name: str) -> None:
        """A process that runs."""
        path = self.folder / "proc/42"
        path.mkdir(exist_ok=True)
        (path / "comm").write_text(name[:15] + "\n")

    def secure_boot(self, on: bool) -> None:
        """A UEFI, as the kernel shows its variable: four bytes of attributes, and the value."""
        path = self.folder / SECURE_BOOT
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\x06\0\0\0" + bytes([on]))

    def program(self, name: str, script: str) -> None:
        """A program that stands in for one."""
        path = self.folder / "bin" / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def says(self, name: str, text: str, code: int = 0) -> None:
        """A program that says just this."""
        (self.folder / f"{name}.txt").write_text(text)
        self.program(name, f"cat '{self._place}/{name}.txt'; exit {code}")

    def smi(self, xml: str = "", listing: str = "") -> None:
        """An nvidia-smi that answers with a recording."""
        self.xml = xml or self.xml
        (self.folder / "smi.xml").write_text(self.xml)
        (self.folder / "smi.list").write_text(listing)
        self.program(
            "nvidia-smi",
            f"case \"$*\" in '-q -x') cat '{self._place}/smi.xml';; "
            f"-L) cat '{self._place}/smi.list';; *) exit 2;; esac",
        )

    def other(self, old: str, new: str, count: int = 1) -> None:
        """nvidia-smi says `new` in place of `old`, of the first GPU alone."""
        assert old in self.xml, old
        self.smi(self.xml.replace(old, new, count))

    def library(self, name: str, version: str = VERSION, **words: Any) -> None:
        """libnvidia-ml or libcuda, with what the stand-in is to do: CODE, GPUS, HANGS, CRASHES."""
        kind = {"NVML": "1"} if name == "libnvidia-ml" else {}
        given = {"VERSION": f'"{version}"', **kind, **words}
        defines = [f"-D{key}={value}" for key, value in sorted(given.items())]
        slug = "".join(c for c in name + "".join(defines) if c.isalnum())
        if not (built := self._built / slug).exists():
            flags = ["-shared", "-fPIC", "-w"]
            subprocess.run(["gcc", *flags, *defines, "-o", built, SOURCE], check=True)
        file = self.folder / "lib" / f"{name}.so.{version}"
        file.write_bytes(built.read_bytes())
        link = self.folder / "lib" / f"{name}.so.1"
        link.unlink(missing_ok=True)
        link.symlink_to(file.name)

    def libraries(self, version: str = VERSION, gpus: int = 1) -> None:
        """Both, well."""
        self.library("libnvidia-ml", version, GPUS=gpus)
        self.library("libcuda", version, GPUS=gpus)

    def k3s(self, *, containerd: str = SAID["containerd"], gpus: object = 8) -> None:
        """A k3s whose node offers `gpus`, with the RuntimeClass."""
        (self.folder / "config.toml").write_text(containerd)
        allocatable = gpus if isinstance(gpus, dict) else {"nvidia.com/gpu": str(gpus)}
        node = {"metadata": {"name": "worker"}, "status": {"allocatable": allocatable}}
        (self.folder / "nodes.json").write_text(json.dumps({"items": [node]}))
        self.program(
            "k3s",
            f'case "$*" in *runtimeclass*) echo runtimeclass.node.k8s.io/nvidia;; '
            f"*nodes*) cat '{self._place}/nodes.json';; *) exit 2;; esac",
        )

    def h100(self) -> None:
        """Eight H100 behind four NVSwitches, healthy to the last."""
        for place in PLACES:
            self.device(place)
        for place in ("04", "05", "06", "07"):
            self.device(place, kind="0x068000")
        self.driver()
        self.smi(eight_h100())
        self.libraries(gpus=8)
        self.process("nv-fabricmanager")
        self.secure_boot(False)
        self.program("nvidia-container-runtime", "exit 0")
        self.k3s()

    def single(self, name: str, place: str, version: str) -> None:
        """A host with the one GPU of a recording."""
        self.device(place)
        self.driver(version)
        self.smi(recorded(name))
        self.libraries(version)
        self.program("nvidia-container-runtime", "exit 0")


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
