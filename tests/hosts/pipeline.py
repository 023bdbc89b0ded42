"""Stand-ins of CI systems: they run the steps of the repository's action and template as GitHub's
and GitLab's runners do, by bash, with the files and variables that these give a step."""

from __future__ import annotations

import re
import subprocess
import sysconfig
import venv
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).parents[2]
ACTION = REPOSITORY / "action.yml"
TEMPLATE = REPOSITORY / "ci" / "gitlab" / "b9prov.gitlab-ci.yml"
SECONDS = 120.0
_EXPRESSION = re.compile(r"\$\{\{ *([\w.-]+) *\}\}")


@dataclass
class Step:
    """A step, or a whole action, that has ended."""

    code: int
    out: str
    err: str
    summary: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def errors(self) -> list[str]:
        """The annotations; GitHub reads both streams for them."""
        lines = (self.out + self.err).splitlines()
        return [line for line in lines if line.startswith("::error ")]


class Action:
    """The composite action, in one job."""

    def __init__(self, workspace: Path, env: Mapping[str, str]) -> None:
        self._action = yaml.safe_load(ACTION.read_text())
        self._workspace, self._env = workspace, dict(env)
        self.temp = workspace.with_name("temp")
        self.temp.mkdir()

    def install(self) -> Step:
        """Its first step; what it adds to the PATH, all later ones have.

        The libraries are those of the tests: test_readme.py has pip fetch them.
        """
        venv.create(self.temp / "b9prov")
        (site,) = (self.temp / "b9prov").glob("lib/python3*/site-packages")
        libraries = self.temp / "libraries"
        libraries.mkdir()
        for each in Path(sysconfig.get_path("purelib")).iterdir():
            if not re.match("_editable|b9prov|pip|provisioner", each.name):
                (libraries / each.name).symlink_to(each)
        (site / "libraries.pth").write_text(f"{libraries}\n")
        return self._run(self._action["runs"]["steps"][0], self._values({}))

    def run(self, **inputs: str) -> Step:
        """Its second step, and the outputs of the action."""
        values = self._values(inputs)
        step = self._run(self._action["runs"]["steps"][1], values)
        outputs = self._action["outputs"].items()
        step.outputs = {name: _filled(each["value"], values) for name, each in outputs}
        return step

    def _values(self, inputs: Mapping[str, str]) -> dict[str, str]:
        known = self._action["inputs"].items()
        assert set(inputs) <= set(self._action["inputs"])
        values = {f"inputs.{name}": inputs.get(name, each["default"]) for name, each in known}
        return {**values, "github.action_path": str(REPOSITORY)}

    def _run(self, step: Mapping[str, Any], values: dict[str, str]) -> Step:
        files = {name: self.temp / f"{name}.txt" for name in ("path", "output", "step_summary")}
        for file in files.values():
            file.write_text("")
        own = {name: _filled(value, values) for name, value in step["env"].items()}
        ended = _bash(step["run"], self._workspace, {**self._env, **self._github(files), **own})
        ended.summary = files["step_summary"].read_text()
        for line in files["output"].read_text().splitlines():
            name, _, value = line.partition("=")
            values[f"steps.{step['id']}.outputs.{name}"] = value
        added = files["path"].read_text().split()
        self._env["PATH"] = ":".join([*added, self._env["PATH"]])
        return ended

    def _github(self, files: Mapping[str, Path]) -> dict[str, str]:
        own = {f"GITHUB_{name.upper()}": str(file) for name, file in files.items()}
        places = {"GITHUB_WORKSPACE": str(self._workspace), "RUNNER_TEMP": str(self.temp)}
        return {"CI": "true", "GITHUB_ACTIONS": "true", **places, **own}


def run_template(workspace: Path, env: Mapping[str, str], **variables: str) -> Step:
    """Run the job `.b9prov` of the GitLab template in `workspace`."""
    job = yaml.safe_load(TEMPLATE.read_text())[".b9prov"]
    assert set(variables) <= set(job["variables"])
    script = "\n".join([*job["before_script"], *job["script"]])
    given = {**env, "CI": "true", "GITLAB_CI": "true", **job["variables"], **variables}
    return _bash(script, workspace, given)


def _filled(text: str, values: Mapping[str, str]) -> str:
    """With the values of its expressions; a step that did not come to be has no outputs."""
    return _EXPRESSION.sub(lambda match: values.get(match[1], ""), text)


def _bash(script: str, folder: Path, env: Mapping[str, str]) -> Step:
    """As both runners start it: a file, without profiles, that ends with the first failure."""
    file = folder.with_name(f"{folder.name}.sh")
    file.write_text(script)
    argv = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)]
    done = subprocess.run(
        argv,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    return Step(done.returncode, done.stdout, done.stderr)
