"""Inventories and playbooks that were good once: loaded and checked, or BadInput."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from fuzzing import bounded, spoilt_text, spoilt_tree
from hypothesis import given
from hypothesis import strategies as st

from provisioner.engine.run import Options, Run
from provisioner.errors import BadInput
from provisioner.inventory import Gateway, Host, Inventory, load_inventory
from provisioner.paths import data_dir
from provisioner.playbook.loader import Loader
from provisioner.secrets import Secret

ROOT = Path(__file__).parents[3]
# without its comments, since one that came to life could run a command
EXAMPLE = re.sub(r" *#.*", "", (ROOT / "inventory.example.yaml").read_text(encoding="utf-8"))
CORPUS = sorted((ROOT / "tests" / "oracle" / "corpus").glob("*.yaml"))
ROLES = data_dir("playbooks") / "roles"
PLAYBOOKS = sorted(data_dir("playbooks").glob("*.yaml"))
TASKS = sorted(data_dir("playbooks").glob("roles/*/tasks/*.yaml"))

INVENTORY = Inventory(
    gateway=Gateway(
        host=Host("gateway", "192.0.2.1"),
        api="localhost:31994",
        url=None,
        admin_token=Secret("the-admin-token-of-the-gateway"),
        manage=True,
        addresses="10.199.0.0/24",
        forwards=[],
        tunnel_address=None,
        tunnel_port=None,
    ),
    hosts={name: Host(name, f"192.0.2.{name[1:]}") for name in ("w2", "w3")},
    groups={"one": ("w2",)},
    source="memory",
)


def said(error: BadInput) -> None:
    """It says something, on lines of bounded length."""
    assert error.problems
    assert all(problem.message for problem in error.problems)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("B9_ADMIN_TOKEN", "an-admin-token-of-some-length")


def inventory(folder: Path, text: str) -> None:
    path = folder / "inventory.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        load_inventory(path)
    except BadInput as error:
        said(error)


def playbook(folder: Path, text: str) -> None:
    path = folder / "playbook.yaml"
    path.write_text(text, encoding="utf-8", errors="surrogateescape")
    try:
        Run(Loader([ROLES]).playbook(path), INVENTORY, Options(), lambda event: None).check()
    except BadInput as error:
        said(error)


def test_what_is_spoilt_below_is_good(folder: Path) -> None:
    (folder / "good.yaml").write_text(EXAMPLE)
    assert load_inventory(folder / "good.yaml").hosts
    assert len(CORPUS) > 20 and PLAYBOOKS and TASKS


@bounded(200)
@given(text=spoilt_text(EXAMPLE))
def test_an_inventory_with_spoilt_lines(folder: Path, text: str) -> None:
    inventory(folder, text)


@bounded(150)
@given(text=spoilt_tree(EXAMPLE.replace("!env B9_ADMIN_TOKEN", "token")))
def test_an_inventory_with_odd_values(folder: Path, text: str) -> None:
    inventory(folder, text)


@bounded(200)
@given(data=st.data())
def test_a_playbook_with_spoilt_lines(folder: Path, data: Any) -> None:
    source = data.draw(st.sampled_from(CORPUS))
    playbook(folder, data.draw(spoilt_text(source.read_text(encoding="utf-8"))))


@bounded(300)
@given(data=st.data())
def test_a_playbook_with_odd_values(folder: Path, data: Any) -> None:
    source = data.draw(st.sampled_from(CORPUS))
    playbook(folder, data.draw(spoilt_tree(source.read_text(encoding="utf-8"))))


@bounded(60)
@given(data=st.data())
def test_a_role_with_odd_values(folder: Path, data: Any) -> None:
    source = data.draw(st.sampled_from(TASKS))
    tasks = folder / "roles" / "spoilt" / "tasks" / "main.yaml"
    tasks.parent.mkdir(parents=True, exist_ok=True)
    text = data.draw(spoilt_tree(source.read_text(encoding="utf-8")))
    tasks.write_text(text, encoding="utf-8", errors="surrogateescape")
    playbook(folder, "- {hosts: workers, roles: [spoilt]}\n")


@bounded(30)
@given(data=st.data())
def test_our_playbooks_with_odd_values(folder: Path, data: Any) -> None:
    source = data.draw(st.sampled_from(PLAYBOOKS))
    playbook(folder, data.draw(spoilt_tree(source.read_text(encoding="utf-8"))))
