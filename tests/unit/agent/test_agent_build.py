"""The zipapp: the same bytes each time, nothing compiled, no file too many."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

from provisioner.agent.build import build_zipapp
from provisioner.agent.build_tui import MEMBER


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
