"""nvidia_mig: slices are cut once, and never under a program that uses the GPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from nvidia_replay import RECORDED

from provisioner.remote.module import ModuleFailed

SEVEN = ["1g.10gb"] * 7
BUSY = """<processes><process_info><pid>4711</pid><type>C</type></process_info></processes>"""
LOOKS = {"-q -x", "-L"}


class A100:
    """A GPU whose slices can be cut."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        program = folder / "nvidia-smi"
        shutil.copy(Path(__file__).with_name("nvidia_smi_stand_in.py"), program)
        program.chmod(0o755)
        shutil.copy(RECORDED / "a100-mig.xml", folder)
        self.set(mig=False, slices=[], processes="", stuck=False)

    def set(self, **state: Any) -> None:
        path = self.folder / "state.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, **state, "calls": []}))

    @property
    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "state.json").read_text())
        return found

    @property
    def changes(self) -> list[str]:
        return [call for call in self.state["calls"] if call not in LOOKS]


@pytest.fixture
def gpu(tmp_path: Path) -> A100:
    return A100(tmp_path)


def cut(apply: Any, gpu: A100, slices: list[str], **words: Any) -> dict[str, Any]:
    path = f"{gpu.folder}:/usr/bin:/bin"
    result: dict[str, Any] = apply("nvidia_mig", slices=slices, search_path=path, **words)
    return result


def test_slices_are_cut_once(apply: Any, gpu: A100) -> None:
    assert cut(apply, gpu, SEVEN)["changed"]
    assert gpu.state["slices"] == SEVEN
    assert gpu.changes == ["-i 0 -mig 1", f"mig -i 0 -cgi {','.join(SEVEN)} -C"]
    assert not cut(apply, gpu, SEVEN)["changed"]
    assert not cut(apply, gpu, list(reversed(SEVEN)))["changed"]


def test_others_are_cleared_first(apply: Any, gpu: A100) -> None:
    gpu.set(mig=True, slices=["3g.40gb"])
    assert cut(apply, gpu, SEVEN)["changed"]
    assert gpu.changes[:2] == ["mig -i 0 -dci", "mig -i 0 -dgi"]
    assert gpu.state["slices"] == SEVEN


def test_none_switches_mig_off(apply: Any, gpu: A100) -> None:
    gpu.set(mig=True, slices=SEVEN)
    assert cut(apply, gpu, [])["changed"]
    assert (gpu.state["mig"], gpu.state["slices"]) == (False, [])
    assert not cut(apply, gpu, [])["changed"]


def test_check_mode_only_looks(apply: Any, gpu: A100) -> None:
    assert cut(apply, gpu, SEVEN, check=True)["changed"]
    assert gpu.changes == []


def test_a_gpu_in_use_is_left_alone(apply: Any, gpu: A100) -> None:
    gpu.set(processes=BUSY)
    with pytest.raises(ModuleFailed, match="used by the processes 4711") as caught:
        cut(apply, gpu, SEVEN)
    assert gpu.changes == [] and "stop them" in caught.value.extra["advice"]


def test_a_mode_that_takes_a_boot(apply: Any, gpu: A100) -> None:
    gpu.set(stuck=True)
    assert cut(apply, gpu, SEVEN)["reboot"]
    gpu.set(stuck=False, mig=True)  # after the boot
    assert not cut(apply, gpu, SEVEN)["reboot"]
    assert gpu.state["slices"] == SEVEN


def test_slices_that_do_not_fit(apply: Any, gpu: A100) -> None:
    with pytest.raises(ModuleFailed, match="Insufficient Resources"):
        cut(apply, gpu, ["7g.80gb", "1g.10gb"])


def test_a_gpu_that_knows_no_mig(apply: Any, gpu: A100) -> None:
    shutil.copy(RECORDED / "rtx-3080.xml", gpu.folder / "a100-mig.xml")
    with pytest.raises(ModuleFailed, match="can't be cut"):
        cut(apply, gpu, SEVEN)


def test_no_nvidia_smi(apply: Any, tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="nvidia-smi: not there"):
        apply("nvidia_mig", slices=[], search_path=str(tmp_path))
