"""Completion in real shells, and the manual in real readers of manuals."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from provisioner.cli.main import COMMANDS

INVENTORY = """\
gateway: {host: 192.0.2.1, admin_token: !env NOWHERE, become_password: !command [touch, ran]}
groups:
  gpu: {hosts: [w1]}
  gold:
hosts:
  w1: 192.0.2.2
  g1:
"""
BASH = """\
source <(b9prov completion bash)
COMP_WORDS=({words}) COMP_CWORD={last}
_b9prov_completion b9prov
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
ZSH = """\
autoload -Uz compinit; compinit -D
source <(b9prov completion zsh)
print -- $_comps[b9prov] >&2
_describe() {{ print -l -- ${{(P)3}} }}
compadd() {{ shift 4; print -l -- $@ }}
words=({words}) CURRENT={last}+1
_b9prov_completion
"""
FISH = "b9prov completion fish | source; complete -C '{line}'"


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    if not shutil.which(argv[0]):
        pytest.skip(f"{argv[0]} is not installed")
    return subprocess.run(argv, capture_output=True, text=True, timeout=60)


def completed(shell: str, line: str) -> set[str]:
    """What a shell offers at the end of a line."""
    words = [f"'{word}'" for word in line.split(" ")]
    script = {"bash": BASH, "zsh": ZSH, "fish": FISH}[shell]
    option = ["-f"] if shell == "zsh" else ["--norc"] if shell == "bash" else ["--no-config"]
    text = script.format(words=" ".join(words), last=len(words) - 1, line=line)
    done = run(shell, *option, "-c", text)
    assert done.returncode == 0, done.stderr
    return {offer.partition("\t")[0].partition(":")[0] for offer in done.stdout.splitlines()}


@pytest.fixture
def program(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with an inventory, and `b9prov` on the PATH."""
    (folder / "inventory.yaml").write_text(INVENTORY)
    bin_ = folder.parent / "bin"
    bin_.mkdir()
    found = shutil.which("b9prov", path=str(Path(sys.executable).parent))
    assert found
    (bin_ / "b9prov").symlink_to(found)
    monkeypatch.setenv("PATH", f"{bin_}:/usr/bin:/bin")
    return folder


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_commands_options_hosts_and_groups(program: Path, shell: str) -> None:
    assert completed(shell, "b9prov comp") == {"completion"}
    assert completed(shell, "b9prov up --lim") == {"--limit"}
    assert completed(shell, "b9prov up --limit g") == {"gpu", "gold", "g1"}
    assert not (program / "ran").exists()


def test_parts_of_a_pattern(program: Path) -> None:
    assert completed("bash", "b9prov up --limit gpu,!w") == {"gpu,!w1"}
    assert completed("bash", "b9prov ssh inventory.yaml w") == {"w1"}
    (program / "inventory.yaml").write_text("{")
    assert completed("bash", "b9prov ssh inventory.yaml w") == {""}


def test_the_manual(program: Path) -> None:
    page = run("b9prov", "man").stdout
    for name in COMMANDS:
        assert f"\n.SS b9prov {name} " in page, name
    path = program / "b9prov.1"
    path.write_text(page)
    shown = run("man", "-l", str(path))
    assert shown.returncode == 0
    assert "b9prov plan [OPTIONS] [INVENTORY]" in shown.stdout
    lint = run("mandoc", "-T", "lint", "-W", "warning", str(path)).stdout.splitlines()
    assert [line for line in lint if "missing date" not in line] == []
