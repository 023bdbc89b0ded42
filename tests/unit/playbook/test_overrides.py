"""`--playbooks DIR`: a single file or role of one's own goes before the shipped one."""

from __future__ import annotations

from pathlib import Path

from provisioner.paths import data_dir
from provisioner.playbook.loader import Loader

ROLES = [data_dir("playbooks") / "roles"]


def test_a_role_of_ones_own_goes_before_the_shipped_one(tmp_path: Path) -> None:
    tasks = tmp_path / "roles" / "ollama" / "tasks" / "main.yaml"
    tasks.parent.mkdir(parents=True)
    tasks.write_text("- name: my own ollama\n  ping:\n")
    plays = Loader(ROLES, tmp_path).playbook(data_dir("playbooks") / "up.yaml").plays
    names = [task.name for play in plays for task in play.tasks]
    assert "my own ollama" in names
    assert "Ollama runs" not in names
    assert "k3s runs" in names


def test_a_playbook_of_ones_own_finds_the_shipped_ones(tmp_path: Path) -> None:
    (tmp_path / "up.yaml").write_text("- import_playbook: preflight.yaml\n")
    plays = Loader(ROLES, tmp_path).playbook(tmp_path / "up.yaml").plays
    assert [play.name for play in plays] == ["Check before anything is changed"]


def test_an_imported_playbook_of_ones_own_goes_before_the_shipped_one(tmp_path: Path) -> None:
    (tmp_path / "gateway.yaml").write_text("- name: mine\n  hosts: gateway\n")
    plays = Loader(ROLES, tmp_path).playbook(data_dir("playbooks") / "up.yaml").plays
    assert "mine" in [play.name for play in plays]
