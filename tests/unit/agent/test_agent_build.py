"""The zipapp: the same bytes each time, nothing compiled, no file too many."""

from __future__ import annotations

import bz2
import io
import os
import subprocess
import sys
import zipfile
from pathlib import Path

from provisioner.agent.build import build_zipapp
from provisioner.agent.build_tui import LIBRARIES, MEMBER, packed_tui


def test_reproducible(tmp_path: Path, zipapp: Path) -> None:
    script = "import sys, pathlib; from provisioner.agent.build import build_zipapp as b;"
    again = tmp_path / "sub" / "again.pyz"
    subprocess.run(
        [sys.executable, "-c", script + "b(pathlib.Path(sys.argv[1]))", again],
        check=True,
        env={**os.environ, "TZ": "Pacific/Auckland", "PYTHONHASHSEED": "7", "LC_ALL": "C"},
    )
    assert again.read_bytes() == zipapp.read_bytes()
    build_zipapp(again)  # over an existing one
    assert again.read_bytes() == zipapp.read_bytes()


def test_contents(zipapp: Path) -> None:
    with zipfile.ZipFile(zipapp) as archive:
        names = archive.namelist()
    assert names == sorted(names)
    assert {"__main__.py", "provisioner/agent/cli.py", "yaml/__init__.py"} <= set(names)
    assert all(name.endswith((".py", "LICENSE")) or name == MEMBER for name in names)
    assert not {"provisioner/agent/build.py", "provisioner/agent/build_tui.py"} & set(names)
    assert zipapp.stat().st_size < 2 << 20
    assert os.access(zipapp, os.X_OK)


def test_imports_only_its_own_room() -> None:
    room = Path(__file__).parents[3] / "provisioner" / "agent"
    for path in room.glob("*.py"):
        for line in path.read_text().splitlines():
            words = line.split()
            if words[:1] in (["from"], ["import"]) and words[1].startswith("provisioner"):
                assert words[1].startswith("provisioner.agent"), f"{path.name}: {line}"


def test_the_terminal_ui_is_one_member_with_licences(zipapp: Path) -> None:
    with zipfile.ZipFile(zipapp) as archive:
        data = bz2.decompress(archive.read(MEMBER))
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        names = packed.namelist()
        assert packed.read("PYTHON") == b"3.9"
    assert names == sorted(names) and len(names) == len(set(names))
    assert {"provisioner_agent/tui/app.py", "provisioner_agent/tui/style.tcss"} <= set(names)
    for library in LIBRARIES:
        assert any(name.startswith(f"LICENSES/{library}-LICENSE") for name in names), library
    own = ("PYTHON", "provisioner_agent/tui/style.tcss")
    rest = [name for name in names if not name.startswith("LICENSES/") and name not in own]
    assert all(name.endswith(".py") for name in rest)
    assert sum(name.startswith("pygments/lexers/") for name in names) < 6


def test_it_is_packed_once(tmp_path: Path) -> None:
    first = packed_tui(tmp_path)
    [kept] = tmp_path.iterdir()
    assert first == packed_tui() == kept.read_bytes()
    kept.write_bytes(b"as it was kept")
    assert packed_tui(tmp_path) == b"as it was kept"
    kept.rename(kept.with_name("tui-of-other-libraries.bz2"))
    assert packed_tui(tmp_path) == first
    assert [file.name for file in tmp_path.iterdir()] == [kept.name]
