"""The action and the template are what GitHub and GitLab take, and hold no way in for a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).parents[3]
ACTION = REPOSITORY / "action.yml"
TEMPLATE = REPOSITORY / "ci" / "gitlab" / "b9prov.gitlab-ci.yml"
BLOCKS = [
    block.partition("\n```")[0]
    for block in (REPOSITORY / "docs" / "ci.md").read_text("utf-8").split("```yaml\n")[1:]
]


def steps(document: object) -> list[dict]:
    """The steps of a workflow, or a list of them."""
    if isinstance(document, list):
        return document
    assert isinstance(document, dict)
    return [step for job in document.get("jobs", {}).values() for step in job["steps"]]


@pytest.mark.parametrize("file", [ACTION, TEMPLATE], ids=lambda file: file.name)
def test_it_fits_the_published_schema(file: Path) -> None:
    kind = "vendor.github-actions" if file == ACTION else "vendor.gitlab-ci"
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", kind, str(file)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_no_input_is_code() -> None:
    for step in yaml.safe_load(ACTION.read_text())["runs"]["steps"]:
        assert "${{" not in step["run"]
        assert step["shell"] == "bash"


def test_the_documented_workflow_fits(tmp_path: Path) -> None:
    path = tmp_path / "workflow.yml"
    path.write_text(BLOCKS[0])
    kind = "vendor.github-workflows"
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", kind, str(path)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_the_documented_inputs_and_variables_exist() -> None:
    inputs = set(yaml.safe_load(ACTION.read_text())["inputs"])
    variables = set(yaml.safe_load(TEMPLATE.read_text())[".b9prov"]["variables"])
    shown = [step for block in BLOCKS for step in steps(yaml.safe_load(block))]
    used = [step["with"] for step in shown if "b9prov" in step.get("uses", "")]
    assert len(used) == 3 and set().union(*used) <= inputs
    job = yaml.safe_load(BLOCKS[-1])["workers"]
    assert job["extends"] == ".b9prov" and set(job["variables"]) <= variables
