"""The mirror's folder: what lies where, and that its manifest tells the truth."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest
import yaml
from real_servers import Mirror, unpack_ollama

from provisioner.lab import artifacts


def test_standins_have_the_same_bytes_in_every_build(standins: Mirror, tmp_path: Path) -> None:
    assert artifacts.build_standins(tmp_path) == standins.manifest


@pytest.mark.parametrize("kind", ["standins", "real"])
def test_the_manifest_says_what_lies_there(kind: str, request: pytest.FixtureRequest) -> None:
    mirror: Mirror = request.getfixturevalue(kind)
    assert yaml.safe_load((mirror.folder / artifacts.MANIFEST).read_text()) == mirror.manifest
    for entry in mirror.manifest.values():
        data = (mirror.folder / entry["file"]).read_bytes()
        assert len(data) == entry["size"]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]


@pytest.mark.parametrize(
    ("kind", "ollama", "k3s"),
    [
        ("standins", "ollama-stand-in", "k3s-stand-in"),
        ("real", "0.9.6", "thin program over kube-apiserver v1.33.4; not k3s"),
    ],
)
def test_programs_name_what_they_are(
    kind: str, ollama: str, k3s: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    mirror: Mirror = request.getfixturevalue(kind)
    assert ollama in said_version(unpack_ollama(mirror.file("ollama"), tmp_path))
    assert k3s in said_version(mirror.file("k3s"))


def said_version(program: Path) -> str:
    """What `--version` prints, warnings of a missing server included."""
    command = (str(program), "--version")
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
