"""What the lab's mirror serves to workers: light stand-ins, or programs built from real sources.

A folder holds `ollama/VERSION/ollama-linux-ARCH.tgz`, `k3s/VERSION/k3s` (`k3s-arm64`) and a
manifest with their hashes.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import yaml

from provisioner import paths
from provisioner.lab import packing, real_builds, tiny_model
from provisioner.lab.machine import LabError
from provisioner.lab.standins import versions

MANIFEST = "artifacts.lock.yaml"
_K3S_FILES = {"amd64": "k3s", "arm64": "k3s-arm64"}

Progress = Callable[[str], None]


class Artifact(TypedDict):
    """One file of the mirror; `file` is its path below the mirror's URL."""

    version: str
    arch: str
    file: str
    size: int
    sha256: str


Manifest = dict[str, Artifact]


def build_standins(dest: Path) -> Manifest:
    """Write the stand-ins for both architectures; the same sources always give the same bytes."""
    ollama = packing.tgz(
        {
            "bin/ollama": (0o755, packing.program("ollama")),
            "lib/ollama/README": (0o644, b"The ollama-stand-in needs no libraries.\n"),
        }
    )
    k3s = packing.program("k3s")
    manifest: Manifest = {}
    for arch in _K3S_FILES:
        _add(manifest, dest, "ollama", versions.OLLAMA, arch, ollama)
        _add(manifest, dest, "k3s", versions.K3S, arch, k3s)
    return _finish(dest, manifest)


def build_real(dest: Path, cache: Path, progress: Progress) -> Manifest:
    """Write the real Ollama and the thin k3s for this machine's architecture, and a tiny model.

    Programs are built once and kept under `cache`; `progress` gets a line for each step.
    """
    arch = real_builds.arch()
    binary = real_builds.ollama(cache, progress)
    programs = real_builds.kubernetes(cache, progress)
    carried = {**programs, "etcd": real_builds.etcd(cache, progress)}
    progress("packing the archives")
    notice = b"Built from the Go module: the CPU backend is linked into the program.\n"
    ollama = packing.tgz(
        {"bin/ollama": (0o755, binary), "lib/ollama/README": (0o644, notice)},
    )
    k3s = packing.program("k3s_thin", {f"bin/{name}": path for name, path in carried.items()})
    manifest: Manifest = {}
    _add(manifest, dest, "ollama", versions.OLLAMA, arch, ollama)
    _add(manifest, dest, "k3s", versions.K3S_THIN, arch, k3s)
    tiny_model.publish(dest)
    return _finish(dest, manifest)


def _add(manifest: Manifest, dest: Path, name: str, version: str, arch: str, data: bytes) -> None:
    """Place one artifact where the roles look for it."""
    if name == "ollama":
        file, mode = f"ollama/{version}/ollama-linux-{arch}.tgz", 0o644
    else:
        file, mode = f"k3s/{version}/{_K3S_FILES[arch]}", 0o755
    packing.place(dest / file, data, mode)
    manifest[f"{name}-{arch}"] = Artifact(
        version=version,
        arch=arch,
        file=file,
        size=len(data),
        sha256=packing.sha256(dest / file),
    )


def _finish(dest: Path, manifest: Manifest) -> Manifest:
    packing.place(dest / MANIFEST, yaml.safe_dump(manifest).encode())
    return manifest


def main(arguments: list[str]) -> int:
    """`--standins DIR` or `--real DIR`."""
    try:
        match arguments:
            case ["--standins", folder]:
                manifest = build_standins(Path(folder))
            case ["--real", folder]:
                manifest = build_real(Path(folder), paths.cache_dir() / "real", _say)
            case _:
                _say("usage: python -m provisioner.lab.artifacts --standins DIR | --real DIR")
                return 2
    except LabError as error:
        _say(str(error))
        return 1
    for artifact in manifest.values():
        print(f"{artifact['sha256']}  {artifact['size']:>10}  {artifact['file']}")
    return 0


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
