"""What is published: it builds, is well described, and works where it is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from provisioner import __version__

REPOSITORY = Path(__file__).parents[3]
INVENTORY = "gateway: {host: 192.0.2.1}\nhosts: {w1: {address: 192.0.2.2, gpu: false}}\n"


def run(*argv: str | Path, cwd: Path) -> str:
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env = {**kept, "XDG_STATE_HOME": str(cwd / "state"), "XDG_CACHE_HOME": str(cwd / "cache")}
    words = [str(word) for word in argv]
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source archive, and the wheel that is built from it."""
    out = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", out, ".", cwd=REPOSITORY)
    return out


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    (wheel,) = dist.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`b9prov` of the wheel, in an environment of its own with the libraries of the tests."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place)
    pip = (sys.executable, "-m", "pip", "--python", place / "bin" / "python", "install", "-q")
    run(*pip, "--no-deps", "--no-index", wheel, cwd=place)
    (site,) = place.glob("lib/python3*/site-packages")
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return place / "bin" / "b9prov"


def test_the_descriptions_are_fit_for_an_index(dist: Path) -> None:
    said = run(sys.executable, "-m", "twine", "check", "--strict", *dist.iterdir(), cwd=dist)
    assert said.count("PASSED") == 2


def test_the_wheel_has_all_that_is_shipped_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for folder in ("playbooks", "templates"):
        shipped = [path for path in (REPOSITORY / folder).rglob("*") if path.is_file()]
        wanted = {f"provisioner/data/{path.relative_to(REPOSITORY)}" for path in shipped}
        assert wanted and wanted <= set(names)
    assert "provisioner/report/events.schema.json" in names
    assert {name.partition("/")[0] for name in names} == {
        "provisioner",
        f"b9prov-{__version__}.dist-info",
    }
    assert not [name for name in names if "__pycache__" in name]


def test_the_archive_can_be_built_from(dist: Path) -> None:
    (archive,) = dist.glob("*.tar.gz")
    with tarfile.open(archive) as opened:
        names = {name.partition("/")[2] for name in opened.getnames()}
    assert {"pyproject.toml", "LICENSE", "playbooks/up.yaml", "Makefile"} <= names
    assert not [name for name in names if re.match(r"\.venv|dist/|.*__pycache__", name)]


def test_it_works_where_it_is_installed(program: Path, tmp_path: Path) -> None:
    assert run(program, "--version", cwd=tmp_path) == f"b9prov, version {__version__}\n"
    (tmp_path / "inventory.yaml").write_text(INVENTORY)
    run(program, "render", "--output-dir", "files", cwd=tmp_path)
    assert (tmp_path / "files/w1/etc/b9agent/config.yaml").is_file()
    assert (tmp_path / "files/w1/etc/systemd/system/b9-tunnel.service").is_file()
    run(program, "play", _playbook(tmp_path), "-i", _here(tmp_path), cwd=tmp_path)


def _playbook(folder: Path) -> Path:
    path = folder / "look.yaml"
    path.write_text("- hosts: workers\n  tasks:\n    - stat: {path: /}\n")
    return path


def _here(folder: Path) -> Path:
    path = folder / "here.yaml"
    path.write_text("hosts: {localhost: {gpu: false}}\n")
    return path
