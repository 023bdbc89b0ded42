"""command and shell."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import ModuleFailed


def test_command_is_no_shell(apply: Any) -> None:
    result = apply("command", cmd="echo 'a b' ; $HOME")
    assert result["stdout"].startswith("a b ; /")
    assert result["cmd"] == ["echo", "a b", ";", "$HOME"]
    assert result["rc"] == 0 and result["changed"]
    assert apply("command", argv=["echo", "a  b"])["stdout_lines"] == ["a  b"]


def test_failure(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="non-zero return code") as caught:
        apply("shell", cmd="echo out; echo err >&2; exit 4")
    extra = caught.value.extra
    assert (extra["rc"], extra["stdout"], extra["stderr"]) == (4, "out", "err")
    with pytest.raises(ModuleFailed) as caught:
        apply("command", cmd="/no/such/program")
    assert (caught.value.extra["rc"], caught.value.extra["changed"]) == (2, False)


def test_creates_and_removes(apply: Any, tmp_path: Path) -> None:
    there, gone = str(tmp_path), str(tmp_path / "gone")
    for skipped in ({"creates": there}, {"removes": gone}):
        for check in (False, True):
            result = apply("command", cmd="false", check=check, **skipped)
            assert not result["changed"] and "not run command since" in result["msg"]
    for needed in ({"creates": gone}, {"removes": there}):
        assert apply("command", cmd="false", check=True, **needed)["changed"]
        assert apply("command", cmd="true", **needed)["changed"]
    (tmp_path / "x.txt").touch()
    assert not apply("shell", cmd="false", chdir=there, creates="*.txt")["changed"]


def test_check_mode_skips(apply: Any, tmp_path: Path) -> None:
    result = apply("shell", cmd=f"touch {tmp_path}/x", check=True)
    assert result["skipped"] and not result["changed"]
    assert not (tmp_path / "x").exists()


def test_stdin_chdir_and_ends(apply: Any, tmp_path: Path) -> None:
    assert apply("command", cmd="cat", stdin="hi")["stdout"] == "hi"
    raw = {"strip_empty_ends": False}
    assert apply("command", cmd="cat", stdin="hi", **raw)["stdout"] == "hi\n"
    assert apply("command", cmd="cat", stdin="hi", stdin_add_newline=False, **raw)["stdout"] == "hi"
    assert apply("command", cmd="pwd", chdir=str(tmp_path))["stdout"] == str(tmp_path)
    with pytest.raises(ModuleFailed, match="change directory"):
        apply("command", cmd="pwd", chdir=str(tmp_path / "no"))


def test_shell_executable(apply: Any) -> None:
    assert apply("shell", cmd="[[ a == a ]] && echo yes", executable="/bin/bash")["stdout"] == "yes"


def test_output_that_is_not_utf8(apply: Any) -> None:
    assert apply("shell", cmd=r"printf 'a\377'")["stdout"] == "a\N{REPLACEMENT CHARACTER}"


def test_one_of_cmd_and_argv(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="either"):
        apply("command")
