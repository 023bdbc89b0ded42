"""Builds the real programs of the lab from the Go module proxy and Debian's archive.

Each build lies in a folder of the cache that is named after what went into it, and appears there
complete or not at all; a build that is there already costs nothing.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from provisioner.lab.machine import LabError, locked
from provisioner.lab.standins import versions

Progress = Callable[[str], None]

_ARCHES = {"x86_64": "amd64", "aarch64": "arm64"}
_OLLAMA = "github.com/ollama/ollama"
_COMMANDS = ("kube-apiserver", "kube-controller-manager", "kubectl")
_MODULE = Path(__file__).parent / "kubernetes"
_VERSION_PACKAGE = "k8s.io/component-base/version"
BUILD_SECONDS = 3600


def arch() -> str:
    """This machine's architecture as Go and Debian name it; the builds are for it alone."""
    machine = platform.machine()
    if machine not in _ARCHES:
        raise LabError(f"there are no builds for {machine}, only for {', '.join(_ARCHES)}")
    return _ARCHES[machine]


def ollama(cache: Path, progress: Progress) -> Path:
    """The `ollama` program, whose CPU backend is linked in; it needs Debian's libstdc++6."""

    def build(folder: Path) -> None:
        progress(f"building Ollama {versions.OLLAMA} (2 to 6 minutes)")
        version = f"-X={_OLLAMA}/version.Version={versions.OLLAMA}"
        flags = ("-trimpath", "-ldflags", f"-s -w {version}")
        _go("install", *flags, f"{_OLLAMA}@v{versions.OLLAMA}", GOBIN=str(folder), GOFLAGS="")

    return _cached(cache / f"ollama-{versions.OLLAMA}-{arch()}", build) / "ollama"


def kubernetes(cache: Path, progress: Progress) -> dict[str, Path]:
    """The Kubernetes programs, by name."""

    def build(folder: Path) -> None:
        progress(f"building Kubernetes {versions.KUBERNETES} (6 to 9 minutes)")
        major, minor = versions.KUBERNETES.lstrip("v").split(".")[:2]
        values = {"gitVersion": versions.KUBERNETES, "gitMajor": major, "gitMinor": minor}
        stamps = " ".join(f"-X={_VERSION_PACKAGE}.{key}={value}" for key, value in values.items())
        flags = ("-trimpath", "-ldflags", f"-s -w {stamps}", "-o", f"{folder}/")
        packages = [f"k8s.io/kubernetes/cmd/{command}" for command in _COMMANDS]
        with tempfile.TemporaryDirectory() as scratch:
            # -mod=mod may write to the module's files: not to those of the source tree.
            module = shutil.copytree(_MODULE, Path(scratch) / "module")
            environment = {"GOFLAGS": "-mod=mod", "CGO_ENABLED": "0"}
            _go("build", *flags, *packages, folder=module, **environment)

    recipe = hashlib.sha256((_MODULE / "go.mod").read_bytes()).hexdigest()[:12]
    folder = _cached(cache / f"kubernetes-{versions.KUBERNETES}-{arch()}-{recipe}", build)
    return {command: folder / command for command in _COMMANDS}


def etcd(cache: Path, progress: Progress) -> Path:
    """Debian's etcd: the installed one, or else unpacked from its package."""
    installed = shutil.which("etcd")
    if installed:
        return Path(installed)

    def fetch(folder: Path) -> None:
        progress("fetching etcd from Debian")
        with tempfile.TemporaryDirectory() as scratch:
            _run(("apt-get", "download", "etcd-server"), Path(scratch), {})
            package = next(Path(scratch).glob("etcd-server_*.deb"))
            _run(("dpkg-deb", "-x", str(package), "unpacked"), Path(scratch), {})
            shutil.copy(Path(scratch) / "unpacked/usr/bin/etcd", folder / "etcd")

    return _cached(cache / f"etcd-{arch()}", fetch) / "etcd"


def _cached(folder: Path, build: Callable[[Path], None]) -> Path:
    """The folder, which `build` fills first when it is not there yet."""
    with locked(folder.with_name(f".{folder.name}.lock"), seconds=BUILD_SECONDS):
        if not folder.is_dir():
            part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
            try:
                build(part)
                part.chmod(0o755)
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return folder


def _go(command: str, *arguments: str, folder: Path | None = None, **environment: str) -> None:
    if shutil.which("go") is None:
        raise LabError("building the real programs needs Go", "put `go` 1.24 or later in PATH")
    _run(("go", command, *arguments), folder or Path("/"), environment)


def _run(command: tuple[str, ...], folder: Path, environment: dict[str, str]) -> None:
    """Run a build step at low priority; its output is shown only when it fails."""
    result = subprocess.run(
        ("nice", "-n", "10", *command),
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_SECONDS,
        check=False,
    )
    if result.returncode:
        raise LabError(f"{' '.join(command[:2])} failed:\n{result.stdout[-4000:]}")
