"""The README's commands, run as they are written, by a `b9prov` installed as it says."""

from __future__ import annotations

import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from provisioner.inventory import load_inventory
from provisioner.lab import Lab

REPOSITORY = Path(__file__).parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")
SECONDS = 240.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PLAYBOOK = """\
- hosts: workers
  become: true
  tasks:
    - file: {path: /etc/site, state: directory}
"""


@dataclass(frozen=True)
class Reader:
    """Somebody who does what the README says, with a home and a folder of their own."""

    home: Path
    folder: Path
    env: dict[str, str]

    def types(self, commands: str, folder: Path | None = None) -> str:
        """What the commands print; they all must go well."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", commands],
            cwd=folder or self.folder,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout


def shown(language: str, part: str) -> str:
    """The README's block of that language with `part` in it."""
    blocks = [text for kind, text in _BLOCK.findall(README) if kind == language and part in text]
    assert len(blocks) == 1, f"{len(blocks)} blocks have {part!r}"
    return blocks[0].replace("$ ", "") if language == "console" else blocks[0]


def in_lab(text: str, lab: Lab) -> str:
    """With the lab's addresses and user for the README's."""
    w1, w2 = lab.worker_hosts[:2]
    for theirs, ours in {
        "203.0.113.10": lab.gateway.address,
        "198.51.100.7": w1.address,
        "198.51.100.8": w2.address,
        "ubuntu": "admin",
    }.items():
        text = text.replace(theirs, ours)
    return text


def settings(lab: Lab) -> dict[str, object]:
    """What the lab's workers need beyond the README's settings: they have no GPU, no internet."""
    known = load_inventory(lab.inventory_path).hosts["w1"].variables
    return {
        "gpu": False,
        "identity_file": str(lab.identity_file),
        "artifacts": {"mirror": lab.mirror_url},
        "ollama": {key: known["ollama"][key] for key in ("version", "sha256")},
        "k3s": {key: known["k3s"][key] for key in ("version", "sha256")},
        "network": {"min_gbps": 0.001},
    }


def inventory(lab: Lab) -> str:
    """The README's inventory, for the lab."""
    text = in_lab(shown("yaml", "gateway:"), lab)
    more = "".join(f"  {key}: {json.dumps(value)}\n" for key, value in settings(lab).items())
    key = f"  identity_file: {lab.identity_file}\n"
    return text.replace("defaults:\n", f"defaults:\n{more}").replace(
        "gateway:\n", f"gateway:\n{key}"
    )


@pytest.fixture(scope="module")
def reader(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Reader:
    """Installed, with an inventory and the hosts' keys known."""
    lab.reset_all()
    home, folder = tmp_path_factory.mktemp("home"), tmp_path_factory.mktemp("site")
    (home / ".ssh").mkdir(mode=0o700)
    keys = "".join(f"{host.address} {host.host_key}\n" for host in lab.hosts)
    (home / ".ssh" / "known_hosts").write_text(keys)
    (folder / "inventory.yaml").write_text(inventory(lab))
    (folder / "worker.yaml").write_text(yaml.safe_dump(settings(lab)))
    (folder / "site.yaml").write_text(_PLAYBOOK)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "B9", "XDG_"))}
    env = {
        **kept,
        "HOME": str(home),
        "PATH": f"{home}/b9prov/bin:{kept['PATH']}",
        "PIP_CACHE_DIR": str(Path.home() / ".cache" / "pip"),
        "B9_ADMIN_TOKEN": lab.admin_token_path.read_text().strip(),
    }
    reader = Reader(home, folder, env)
    reader.types(shown("console", "pip install"), folder=REPOSITORY)
    return reader


def test_quick_start(reader: Reader) -> None:
    said = reader.types(shown("console", "b9prov status"))
    assert "inventory.yaml: fine, 2 hosts" in said
    assert "check mode: nothing was touched" in said
    assert "+ExecStart=/usr/local/bin/ollama serve" in said
    assert "2 of 2 ready" in said


def test_at_hand(reader: Reader) -> None:
    said = reader.types(shown("console", "b9prov logs"))
    assert "Started b9-tunnel.service" in said and "w2 | active" in said and "load average" in said


def test_the_doctor(reader: Reader) -> None:
    said = reader.types(shown("console", "b9prov doctor"))
    assert "nothing is wrong with 2 workers and the gateway" in said
    assert "authorises the worker's key again" in said


def test_the_network(reader: Reader) -> None:
    assert "6 of 6 fast enough" in reader.types(shown("console", "b9prov nettest"))


def test_a_playbook_of_ones_own(reader: Reader) -> None:
    assert "would change" in reader.types(shown("console", "b9prov play"))


def test_down(reader: Reader, lab: Lab) -> None:
    reader.types(shown("console", "b9prov down"))
    for worker in lab.worker_hosts[:2]:
        assert not worker.path("/etc/b9agent").exists()
    assert not lab.gateway.path("/var/lib/b9prov").exists()


def test_without_an_inventory(reader: Reader, lab: Lab) -> None:
    said = reader.types(in_lab(shown("console", "b9prov up --host"), lab))
    assert "all 2 hosts are as described now" in said
