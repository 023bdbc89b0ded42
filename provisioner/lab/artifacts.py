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

from provisioner.lab import packing
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
    """`--standins DIR`."""
    match arguments:
        case ["--standins", folder]:
            manifest = build_standins(Path(folder))
        case _:
            print("usage: python -m provisioner.lab.artifacts --standins DIR", file=sys.stderr)
            return 2
    for artifact in manifest.values():
        print(f"{artifact['sha256']}  {artifact['size']:>10}  {artifact['file']}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
