"""Files from where the inventory says, and an Ollama that was on the host before b9prov came."""

from __future__ import annotations

import hashlib
import json
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from driver import Driver, Ran, tail
from looks import differences, footprint

from provisioner.artifacts.lock import Entry, Lock
from provisioner.lab import Host, artifacts_dir
from provisioner.lab.standins import versions

Json = dict[str, Any]
# as the vendor's install.sh writes it
UNIT = """\
[Unit]
Description=Ollama Service
After=network-online.target

[Service]
ExecStart=/usr/local/bin/ollama serve
User=ollama
Group=ollama
Restart=always
RestartSec=3
Environment="PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

[Install]
WantedBy=default.target
"""
UNIT_FILE = "/etc/systemd/system/ollama.service"
BESIDE = "/usr/local/lib/b9prov/ollama/bin/ollama"
IMAGES = "k3s-airgap-images-amd64.tar"
NOWHERE = "http://127.0.0.1:1"


def done(host: Host, *argv: str) -> str:
    ran = host.exec(argv)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return str(ran.stdout)


def ask(host: Host, path: str, body: Json | None = None) -> Json:
    """The answer of a host's Ollama."""
    data = () if body is None else ("-d", json.dumps(body))
    words = ("curl", "-sSf", "--retry", "50", "--retry-connrefused", "--retry-delay", "1")
    found: Json = json.loads(done(host, *words, *data, f"http://127.0.0.1:11434{path}"))
    return found


def models(host: Host) -> list[str]:
    return sorted(model["name"] for model in ask(host, "/api/tags")["models"])


def running(host: Host, name: str) -> str:
    """A property of the unit."""
    return done(host, "systemctl", "show", "ollama", "-p", name, "--value").strip()


def install_by_hand(host: Host) -> None:
    """What the vendor's script does, and a model that somebody pulled."""
    archive = artifacts_dir() / f"ollama/{versions.OLLAMA}/ollama-linux-amd64.tgz"
    with tarfile.open(archive) as tar:
        program = tar.extractfile("bin/ollama")
        assert program
        host.path("/usr/local/bin/ollama").write_bytes(program.read())
    done(host, "chmod", "755", "/usr/local/bin/ollama")
    done(host, *"useradd -r -s /bin/false -U -m -d /usr/share/ollama ollama".split())
    host.path(UNIT_FILE).write_text(UNIT)
    done(host, "systemctl", "daemon-reload")
    done(host, "systemctl", "enable", "--now", "ollama")
    ask(host, "/api/pull", {"model": "handmade", "stream": False})


@pytest.fixture(scope="module")
def before(driver: Driver) -> dict[str, str]:
    """What w1 is like, with an Ollama of somebody's; the other hosts are new."""
    driver.lab.reset_all()
    install_by_hand(driver.lab.host("w1"))
    return footprint(driver.lab.host("w1"))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A controller's directory of artifacts, with images of k3s that a lock of its own pins."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(artifacts_dir(), folder / "files")
    images = folder / f"files/k3s/{versions.K3S}/{IMAGES}"
    images.write_bytes(b"no real images")
    sha256 = hashlib.sha256(images.read_bytes()).hexdigest()
    url = f"{NOWHERE}/{IMAGES}"
    Lock([Entry("k3s-images", versions.K3S, "amd64", url, sha256)]).write(folder / "own.lock")
    return folder


@pytest.fixture
def up(driver: Driver, site: Path, before: dict[str, str]) -> Callable[..., Ran]:
    """`up` of w1, with these settings of Ollama, and where asked of w2, which only the controller
    gives files."""

    def run(ollama: Json, limit: str = "w1") -> Ran:
        pushed = {"lock": str(site / "own.lock"), "push_dir": str(site / "files")}

        def edit(data: Json) -> None:
            data["hosts"]["w1"]["ollama"] = ollama
            data["hosts"]["w2"] |= {
                "artifacts": {**pushed, "mirror": NOWHERE, "order": ["mirror", "push"]},
                "ollama": {"models": ["one", "two"], "probe": True, "keep_alive": "7m"},
                "k3s": {"airgap": True},
            }

        return driver.up("--limit", limit, inventory=driver.inventory(edit))

    return run


KEEP: Json = {"models": ["listed"], "env": {"OLLAMA_DEBUG": "a 'b' %c"}}


def test_one_is_adopted_and_one_has_its_files_pushed(
    driver: Driver, up: Callable[..., Ran]
) -> None:
    adopted, pushed = driver.lab.host("w1"), driver.lab.host("w2")
    up(KEEP, "w1,w2")
    assert adopted.path(UNIT_FILE).read_text() == UNIT
    assert models(adopted) == ["handmade:latest", "listed:latest"]
    assert "\"OLLAMA_DEBUG=a 'b' %c\"" in running(adopted, "Environment")
    assert "/usr/local/bin/ollama" in running(adopted, "ExecStart")
    assert models(pushed) == ["one:latest", "two:latest"]
    assert "OLLAMA_KEEP_ALIVE=7m" in running(pushed, "Environment")
    images = pushed.path(f"/var/lib/rancher/k3s/agent/images/{IMAGES}")
    assert images.read_bytes() == b"no real images"
    assert "video" in done(pushed, "id", "-nG", "ollama").split()
    again = up(KEEP, "w1,w2")
    assert set(again.changed().values()) == {0}, tail(again)


def test_ours_runs_beside_it_when_told_so(driver: Driver, up: Callable[..., Ran]) -> None:
    host = driver.lab.host("w1")
    theirs = host.path("/usr/local/bin/ollama").read_bytes()
    up({**KEEP, "adopt": "upgrade"})
    assert BESIDE in running(host, "ExecStart")
    assert models(host) == ["handmade:latest", "listed:latest"]
    assert host.path("/usr/local/bin/ollama").read_bytes() == theirs
    assert up({**KEEP, "adopt": "upgrade"}).changed()["w1"] == 0
    up(KEEP)
    assert BESIDE not in running(host, "ExecStart") and not host.path(BESIDE).exists()


def test_refusing_it_is_a_way_too(driver: Driver, before: dict[str, str]) -> None:
    def edit(data: Json) -> None:
        data["hosts"]["w1"]["ollama"] = {"adopt": "refuse"}

    ran = driver.run("up", "--limit", "w1", inventory=driver.inventory(edit))
    assert ran.code == 1 and f"already ({UNIT_FILE}) and ollama.adopt is refuse" in ran.text


def test_prune_removes_what_is_not_listed(driver: Driver, up: Callable[..., Ran]) -> None:
    host = driver.lab.host("w1")
    up({"models": ["handmade"]})
    assert models(host) == ["handmade:latest", "listed:latest"]
    up({"models": ["handmade"], "prune": True})
    assert models(host) == ["handmade:latest"]


def test_down_leaves_it_as_it_was(driver: Driver, before: dict[str, str]) -> None:
    host = driver.lab.host("w1")
    ran = driver.run("down", "--yes", "--limit", "w1,w2")
    assert ran.code == 0, tail(ran)
    assert differences(before, footprint(host)) == ""
    assert running(host, "ActiveState") == "active"
    assert models(host) == ["handmade:latest"]
    assert not driver.lab.host("w2").path(UNIT_FILE).exists()
    again = driver.run("down", "--yes", "--limit", "w1")
    assert again.changed()["w1"] == 0, tail(again)
