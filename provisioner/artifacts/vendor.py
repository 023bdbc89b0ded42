"""What the vendors call their files, and where they publish the hashes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote

from provisioner.artifacts.lock import Entry

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}  # as uname has them, and as vendors do
_ZSTD_SINCE = (0, 14)  # Ollama's first release whose archive is a .tar.zst


@dataclass(frozen=True)
class Vendor:
    """Where a vendor has a file's versions: `{version}`, `{arch}` and `{file}` stand for those."""

    base: str
    sums: str
    licence: str


_OLLAMA = "https://github.com/ollama/ollama/releases/download/v{version}/"
_K3S = "https://github.com/k3s-io/k3s/releases/download/{version}/"
VENDORS = {
    "ollama": Vendor(_OLLAMA, "sha256sum.txt", "MIT"),
    "k3s": Vendor(_K3S, "sha256sum-{arch}.txt", "Apache-2.0"),
    "k3s-images": Vendor(_K3S, "sha256sum-{arch}.txt", "Apache-2.0"),
}


def entry(name: str, version: str, arch: str, sha256: str, size: int = 0, url: str = "") -> Entry:
    """The entry of a file whose hash is known; its URL is the vendor's if none is given."""
    licence = VENDORS[name].licence if name in VENDORS else ""
    return Entry(name, version, arch, url or vendor_url(name, version, arch), sha256, size, licence)


def vendor_url(name: str, version: str, arch: str) -> str:
    """Where the vendor has it; `name` is one of VENDORS."""
    return _below(name, version) + _file(name, version, arch)


def sums_url(name: str, version: str, arch: str) -> str:
    """Where the vendor publishes its hash; `name` is one of VENDORS."""
    return _below(name, version) + VENDORS[name].sums.format(arch=arch)


def _below(name: str, version: str) -> str:
    return VENDORS[name].base.format(version=quote(version))


def _file(name: str, version: str, arch: str) -> str:
    if name == "k3s":
        return "k3s" if arch == "amd64" else f"k3s-{arch}"
    if name == "k3s-images":
        return f"k3s-airgap-images-{arch}.tar.zst"
    numbers = tuple(int(part) for part in re.findall(r"\d+", version)[:2])
    return f"ollama-linux-{arch}.{'tar.zst' if numbers >= _ZSTD_SINCE else 'tgz'}"
