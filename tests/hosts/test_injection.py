"""Values that the schema lets through, read back by systemd itself."""

from __future__ import annotations

from pathlib import Path

import yaml
from driver import Driver, wait_until

from provisioner.engine.render import render_host
from provisioner.engine.run import Options
from provisioner.inventory import load_inventory
from provisioner.lab import Host
from provisioner.paths import shipped_playbook
from provisioner.playbook.loader import Loader

ROLES = Path(__file__).parents[2] / "playbooks" / "roles"
UNIT = "/etc/systemd/system/ollama.service.d/50-b9prov.conf"
DIRECTORIES = (
    "/srv/models",
    "/srv/a b LD_PRELOAD=/tmp/hit.so",
    "/srv/$(id) ${HOME} `id` ; id & | #",
    "/srv/%h %n %% %",
    "/srv/-oProxyCommand=x",
    "/srv/ä \N{PILE OF POO} \u202e \u2028",
)


def test_a_models_dir_is_one_assignment_for_systemd(driver: Driver, tmp_path: Path) -> None:
    worker, found = driver.lab.host("w1"), {}
    for number, directory in enumerate(DIRECTORIES):
        text = rendered(tmp_path, directory)
        lines = [line for line in text.split("\n") if line.startswith("Environment=")]
        unit = "\n".join(
            [
                "[Service]",
                "Type=oneshot",
                *lines,
                f"ExecStart=/bin/sh -c 'cat /proc/self/environ >/run/hit-{number}'",
            ]
        )
        worker.path(f"/etc/systemd/system/hit-{number}.service").write_text(unit + "\n")
    names = " ".join(f"hit-{number}" for number in range(len(DIRECTORIES)))
    try:
        assert worker.exec(["sh", "-c", f"systemctl daemon-reload; systemctl start {names}"])
        for number in range(len(DIRECTORIES)):
            found[number] = environment(worker, number)
    finally:
        clean = "rm -f /etc/systemd/system/hit-* /run/hit-*; systemctl daemon-reload"
        worker.exec(["sh", "-c", clean])
    for number, directory in enumerate(DIRECTORIES):
        assigned = [each for each in found[number] if each.startswith("OLLAMA_MODELS")]
        assert assigned == [f"OLLAMA_MODELS={directory}"]
        assert not [each for each in found[number] if each.startswith("LD_PRELOAD")]


def rendered(folder: Path, directory: str) -> str:
    """The settings of Ollama's unit for models in that directory."""
    path = folder / "inventory.yaml"
    ollama = {"models_dir": directory}
    gateway = {"host": "192.0.2.1", "admin_token": "a token"}
    hosts = {"w1": {"address": "192.0.2.7", "ollama": ollama}}
    path.write_text(yaml.safe_dump({"gateway": gateway, "hosts": hosts}))
    playbook = Loader([ROLES]).playbook(shipped_playbook("up", None))
    options = Options(magic={"b9agent_pyz": str(path), "b9prov_state_dir": "/nonexistent"})
    files = render_host(playbook, load_inventory(path), "w1", options)
    return next(file.content for file in files if file.path == UNIT)


def environment(worker: Host, number: int) -> list[str]:
    """What the unit's process had, once it has told."""

    def told() -> str:
        return worker.exec(["cat", f"/run/hit-{number}"]).stdout

    return wait_until(told, 10, f"hit-{number}").split("\0")
