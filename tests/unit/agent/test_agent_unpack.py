"""Where the terminal UI is unpacked, and by whom it is believed."""

from __future__ import annotations

import bz2
import io
import os
import sys
import zipfile
from pathlib import Path

import pytest

import provisioner.agent
from provisioner.agent import terminal, unpack
from provisioner.agent.flags import Flags


def archive(python: str = "3.9", text: str = "x = 1\n") -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w") as packed:
        packed.writestr("PYTHON", python)
        packed.writestr("b9_unpacked_for_a_test.py", text)
        packed.writestr("provisioner_agent/tui_for_a_test/__init__.py", "y = 2\n")
    return bz2.compress(data.getvalue())


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where it is unpacked; what is imported is forgotten."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(provisioner.agent, "__path__", list(provisioner.agent.__path__))
    return tmp_path / unpack.NAME


def packed(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(unpack.pkgutil, "get_data", lambda *_: data)


def test_it_can_be_imported(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(monkeypatch, archive())
    with unpack.importable():
        import b9_unpacked_for_a_test  # type: ignore[import-not-found]

        from provisioner.agent import tui_for_a_test  # type: ignore[attr-defined]

        assert (b9_unpacked_for_a_test.x, tui_for_a_test.y) == (1, 2)
        assert str(home) in b9_unpacked_for_a_test.__file__
    assert home.stat().st_mode & 0o777 == 0o700


def test_what_another_version_left_goes(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for text in ("x = 1\n", "x = 2\n", "x = 2\n"):
        packed(monkeypatch, archive(text=text))
        with unpack.importable():
            pass
    [folder] = home.iterdir()
    assert (folder / "b9_unpacked_for_a_test.py").read_text() == "x = 2\n"


@pytest.mark.parametrize("mode", [0o777, 0o750])
def test_a_folder_that_others_can_reach_is_not_believed(
    home: Path, monkeypatch: pytest.MonkeyPatch, mode: int
) -> None:
    home.mkdir()
    home.chmod(mode)
    packed(monkeypatch, archive())
    with unpack.importable():
        used = Path(sys.path[0])
        assert used.stat().st_mode & 0o777 == 0o700
    assert list(home.iterdir()) == [] and not used.exists()


def test_a_link_is_not_followed(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.parent / "elsewhere").mkdir(mode=0o700)
    home.symlink_to(home.parent / "elsewhere")
    packed(monkeypatch, archive())
    with unpack.importable():
        pass
    assert list((home.parent / "elsewhere").iterdir()) == []


def test_of_another_users_folder_nothing_is_believed(
    home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As with sudo, which may leave the variable of the user that it was."""
    if os.geteuid() == 0:
        os.chown(tmp_path, 65534, 65534)
    else:
        tmp_path.chmod(0o777)
    monkeypatch.setattr(unpack, "ROOTS", home.parent / "no" / "such" / "folder")
    packed(monkeypatch, archive())
    with unpack.importable():
        used = Path(sys.path[0])
    assert not home.exists() and not used.exists()


def test_python_that_is_too_old(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    packed(monkeypatch, archive(python="3.99"))
    assert terminal.show([], Flags({"control-port": "1"}, {}, [])) == 2
    said = capsys.readouterr().err
    assert "needs Python 3.99" in said and "b9agent status" in said
    assert len(said.splitlines()) == 1
    assert list(home.iterdir()) == []


def test_a_disk_that_is_full(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packed(monkeypatch, archive())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zipfile.ZipFile, "extractall", full)
    with pytest.raises(unpack.Unusable, match="No space left"), unpack.importable():
        pass
    assert list(home.iterdir()) == []
