"""Modes, atomic writes and attributes."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest

from provisioner.remote import files
from provisioner.remote.module import ModuleFailed


@pytest.mark.parametrize(
    "text",
    [
        "u=rw,g=r,o=",
        "a+x",
        "go-rwx",
        "u=rwX,go=rX",
        "g=u",
        "u+s",
        "o+t",
        "u=rwx,g-w+s",
        "+x",
        "a=r",
    ],
)
@pytest.mark.parametrize("start", [0o644, 0o755, 0o600, 0o4750])
@pytest.mark.parametrize("directory", [False, True])
def test_symbolic_modes_mean_what_chmod_does(
    tmp_path: Path, text: str, start: int, directory: bool
) -> None:
    if directory and start & 0o6000:
        pytest.skip("GNU chmod keeps a folder's set-ID bits with =, Ansible and POSIX's text don't")
    path = tmp_path / "it"
    path.mkdir() if directory else path.touch()
    path.chmod(start)
    subprocess.run(["chmod", text, str(path)], check=True)
    assert files.parse_mode(text, start, directory) == stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("text,mode", [("0644", 0o644), ("755", 0o755), ("0o600", 0o600)])
def test_octal_modes(text: str, mode: int) -> None:
    assert files.parse_mode(text) == mode


@pytest.mark.parametrize("text", ["rw", "u=q", "0999", ""])
def test_bad_modes(text: str) -> None:
    with pytest.raises(ModuleFailed):
        files.parse_mode(text)


def test_write_keeps_mode_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    path.chmod(0o640)
    files.write(path, b"new")
    assert path.read_text() == "new"
    assert files.octal(path.stat().st_mode) == "0640"
    assert os.listdir(tmp_path) == ["file"]


def test_new_file_has_its_mode_before_its_name(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    with files.replacing(path, {"mode": "0600"}) as temporary:
        assert files.octal(temporary.stat().st_mode) == "0600"
        temporary.write_text("x")
        assert not path.exists()
    assert files.octal(path.stat().st_mode) == "0600"


def test_failed_validation_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("good")
    with pytest.raises(ModuleFailed, match="failed to validate"):
        files.write(path, b"bad", validate="grep -q good %s")
    assert path.read_text() == "good"
    assert os.listdir(tmp_path) == ["file"]
    files.write(path, b"good too", validate="grep -q good %s")
    assert path.read_text() == "good too"


def test_validation_needs_a_place_for_the_path(tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="%s"):
        files.write(tmp_path / "file", b"", validate="true")


def test_unknown_owner(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    with pytest.raises(ModuleFailed, match="failed to look up user"):
        files.set_attributes(path, {"owner": "no-such-user"}, check=False)
    assert files.set_attributes(path, {"owner": "no-such-user"}, check=True)[1]


def test_diff_of_binary_content_is_no_noise() -> None:
    assert "binary" in files.as_text(b"\xff\x00")
    assert "too large" in files.as_text(b"x" * (files.DIFF_LIMIT + 1))


def test_content_with_a_mode_is_never_more_readable_than_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = files.os.chmod

    def spy(path: str, mode: int, **options: bool) -> None:
        modes.append(mode)
        real(path, mode, **options)

    monkeypatch.setattr(files.os, "chmod", spy)
    target = tmp_path / "secret"
    files.write(target, b"one", {"mode": "0600"})
    target.chmod(0o644)
    files.write(target, b"two", {"mode": "0600"})
    assert all(mode & 0o077 == 0 for mode in modes if mode != 0o644) and modes.count(0o644) <= 1
    assert target.stat().st_mode & 0o777 == 0o600
