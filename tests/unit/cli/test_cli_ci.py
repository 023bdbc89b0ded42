"""A run in GitHub Actions: what it is told, and what stays out of the log."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

FAILING = "    - name: break it\n      command: 'false'\n"
SECRET = "first of two\nsecond, 50%"


@pytest.fixture
def github(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A step of a job; its summary."""
    summary = folder.parent / "summary.md"
    summary.touch()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    return summary


@pytest.fixture
def with_secret(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PASSWORD", SECRET)
    (folder / "inventory.yaml").write_text(
        "hosts:\n  localhost: {pool: cpu, vars: {password: !env PASSWORD}}\n"
    )


def test_json_stays_json_beside_annotations(b9prov, github, local, playbook) -> None:
    done = b9prov("play", str(playbook(FAILING)), "--output", "json")
    assert done.returncode == 1
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-1] == "summary"
    assert done.stderr == (
        "::error file=try.yaml,line=4,title=b9prov%3A break it::"
        "localhost: break it: non-zero return code\n"
    )
    assert "--limit localhost" in github.read_text()


def test_bad_input_is_told_at_its_place(b9prov, github, folder) -> None:
    (folder / "inventory.yaml").write_text("hosts:\n  w1: {pol: gpu}\n")
    done = b9prov("inventory", "validate")
    assert done.returncode == 2
    said = done.stderr.splitlines()
    assert said[0].startswith("error: inventory.yaml:2: unknown key 'pol'")
    assert said[1].startswith("::error file=inventory.yaml,line=2,title=b9prov::unknown key 'pol'")
    (said,) = b9prov("up", "gone.yaml").stderr.splitlines()[1:]
    assert said.startswith("::error title=b9prov::no such file: gone.yaml")


def test_every_line_of_a_secret_is_masked_before_anything_is_said(
    b9prov, github, with_secret, playbook
) -> None:
    path = playbook("    - debug: {msg: '{{ password }}'}\n")
    done = b9prov("play", str(path), stderr=subprocess.STDOUT, stdout=subprocess.PIPE)
    lines = done.stdout.splitlines()
    masks = {line.removeprefix("::add-mask::") for line in lines if line.startswith("::add-mask::")}
    assert masks == {"first of two", "second, 50%25", "first of two%0Asecond, 50%25"}
    rest = lines[len(masks) :]
    assert not any("first of two" in line or "second" in line for line in rest)


@pytest.mark.parametrize("on", ["file", "elsewhere"])
def test_masks_are_told_to_nobody_but_the_runner(
    github, with_secret, folder: Path, monkeypatch, on: str
) -> None:
    if on == "elsewhere":
        monkeypatch.setenv("GITHUB_ACTIONS", "")
    argv = [sys.executable, "-c", "from provisioner.cli.main import main; main()"]
    with (folder / "log").open("w") as log:
        stream = log if on == "file" else subprocess.PIPE
        words = ["inventory", "validate"]
        done = subprocess.run([*argv, *words], stderr=stream, stdout=log, timeout=60, text=True)
    assert done.returncode == 0
    assert "add-mask" not in (folder / "log").read_text() + (done.stderr or "")


def test_a_summary_that_cannot_be_written_is_a_warning(
    b9prov, github, local, playbook, monkeypatch
) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "/proc/nowhere/summary.md")
    done = b9prov("play", str(playbook("    - ping:\n")))
    assert done.returncode == 0
    assert "warning: no summary of the job is written" in done.stderr


def test_elsewhere_nothing_of_it_is_said(b9prov, github, local, playbook, monkeypatch) -> None:
    monkeypatch.delenv("GITHUB_ACTIONS")
    done = b9prov("play", str(playbook(FAILING)))
    assert (done.returncode, done.stderr, github.read_text()) == (1, "", "")
