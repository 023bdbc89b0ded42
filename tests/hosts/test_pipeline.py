"""Steps of a pipeline on lab hosts: what a CI system sees of a run that goes well, or does not."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from driver import Driver
from pipeline import Action, run_template

FINE = "- hosts: workers\n  tasks:\n    - name: look\n      stat: {path: /etc}\n"
Inputs = dict[str, str]
BROKEN = """\
- hosts: workers
  tasks:
    - name: look
      stat: {path: /etc}
    - name: mount the cache
      shell: echo "no such device" >&2; echo "::set-output name=exit-code::0"; exit 32
      when: inventory_hostname == "w2"
"""


@pytest.fixture(scope="module")
def workspace(driver: Driver, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout with playbooks and an inventory without a key to log in with."""
    folder = tmp_path_factory.mktemp("pipeline") / "site"
    folder.mkdir()
    (folder / "fine.yaml").write_text(FINE)
    (folder / "broken.yaml").write_text(BROKEN)

    def without_key(data: dict[str, Any]) -> None:
        for section in (data["gateway"], data["defaults"], *data["hosts"].values()):
            section.pop("identity_file", None)

    (folder / "inventory.yaml").write_text(driver.inventory(without_key).read_text())
    return folder


@pytest.fixture(scope="module")
def action(workspace: Path, driver: Driver) -> Action:
    """The action, installed as its first step does."""
    quick = {"PIP_NO_BUILD_ISOLATION": "0", "PIP_NO_COMPILE": "1", "PIP_NO_INDEX": "1"}
    action = Action(workspace, {**driver.env, **quick})
    step = action.install()
    assert step.code == 0, step.err
    return action


@pytest.fixture(scope="module")
def key(driver: Driver) -> dict[str, str]:
    """The input that lets the action log in."""
    return {"ssh-key": driver.lab.identity_file.read_text()}


def failures(junit: Path) -> list[tuple[str | None, str | None]]:
    """Host and task of each failure."""
    return [
        (suite.get("name"), case.get("name"))
        for suite in ElementTree.parse(junit).getroot()
        for case in suite
        if case.find("failure") is not None
    ]


def test_a_step_that_succeeds(action: Action, key: Inputs, driver: Driver) -> None:
    step = action.run(**key, command="play fine.yaml", limit="w1,w2", args="--diff -v")
    assert step.code == 0, step.err
    assert step.errors == []
    assert (step.outputs["exit-code"], failures(Path(step.outputs["junit"]))) == ("0", [])
    assert step.summary.startswith("## ✅ fine: all 2 hosts are as described")
    assert Path(step.outputs["summary"]).read_text() == step.summary
    token = driver.lab.admin_token_path.read_text().strip()
    assert f"::add-mask::{token}" in step.err.splitlines()[0:1]
    assert token not in step.out + step.summary
    assert "\x1b" not in step.out + step.err


def test_a_step_that_fails_names_host_and_task(action: Action, key: Inputs) -> None:
    step = action.run(**key, command="play broken.yaml", limit="w1,w2")
    assert step.code == 1
    assert step.errors == [
        "::error file=broken.yaml,line=5,title=b9prov%3A mount the cache::"
        "w2: mount the cache: non-zero return code%0Ano such device"
    ]
    assert step.outputs["exit-code"] == "1"
    assert failures(Path(step.outputs["junit"])) == [("w2", "mount the cache")]
    assert "| ❌ | w2 | failed |" in step.summary and "--limit w2" in step.summary
    assert not any(line.lstrip().startswith("::set-output") for line in step.out.splitlines())


@pytest.mark.usefixtures("fresh_worker")  # there is something to do on w1
def test_a_plan_as_a_gate(action: Action, key: Inputs, workspace: Path) -> None:
    inputs = {"command": "plan", "limit": "w1", "args": "-o 'my plan' --detailed-exitcode"}
    step = action.run(**key, **inputs, **{"allowed-exit-codes": "0 2"})
    assert (step.code, step.outputs["exit-code"]) == (0, "2"), step.err
    assert (workspace / "my plan").is_file()
    assert action.run(**key, **inputs).code == 2


def test_inputs_are_no_code(action: Action, workspace: Path) -> None:
    for name in ("command", "inventory", "limit", "args", "allowed-exit-codes", "ssh-key"):
        nasty = f'$(touch {workspace}/made) `touch {workspace}/made` "; touch {workspace}/made; "'
        step = action.run(**{"command": "inventory validate", "limit": "", name: nasty})
        assert (step.code == 0) == (name == "allowed-exit-codes"), step.err
        assert not (workspace / "made").exists(), name


def test_a_job_of_gitlab(action: Action, workspace: Path, driver: Driver) -> None:
    # what the action has installed is there already, as in an image of one's own
    shutil.copytree(action.temp / "b9prov", workspace / ".b9prov", symlinks=True)
    key = workspace.with_name("key")
    key.write_text(driver.lab.identity_file.read_text())
    step = run_template(
        workspace,
        driver.env,
        B9PROV_COMMAND="play broken.yaml",
        B9PROV_LIMIT="w1,w2",
        B9PROV_SSH_KEY=str(key),
    )
    assert step.code == 1, step.err
    assert "w2  failed   mount the cache" in step.out
    assert step.errors == [] and "::add-mask" not in step.err
    assert failures(workspace / "b9prov-report" / "junit.xml") == [("w2", "mount the cache")]
