"""Rows of nvidia_check whose judgement has more to it: Xids, MIG, Kubernetes, Ollama."""

from __future__ import annotations

import json
from typing import Any

import pytest
from nvidia_replay import RECORDED, SAID, Ollama, Replay, failed, skipped, table


class TestXids:
    def test_those_of_programs_are_told_and_no_failure(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.says("journalctl", SAID["xid_31"])
        row = table(apply, host)["Xid errors"]
        assert row["ok"] and row["found"] == "31, of programs"

    def test_the_gravest_says_what_to_do(self, apply: Any, host: Replay) -> None:
        host.h100()
        mild = SAID["xid_31"].replace(": 31,", ": 63,")
        host.says("journalctl", mild + SAID["xid_31"] + SAID["xid_79"])
        row = table(apply, host)["Xid errors"]
        assert row["severity"] == "error" and "riser" in row["fix"]
        assert row["found"].startswith("79 of 0000:01:00 (it has fallen off the bus); 63 of ")

    def test_a_strange_one_is_a_warning(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.says("journalctl", SAID["xid_31"].replace(": 31,", ": 999,"))
        row = table(apply, host)["Xid errors"]
        assert not row["ok"] and row["severity"] == "warn" and "docs.nvidia.com" in row["fix"]

    def test_without_a_journal_dmesg_is_asked(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.program("journalctl", "echo 'No journal files were found.' >&2; exit 1")
        host.says("dmesg", "[   12.3] " + SAID["xid_79"])
        assert not table(apply, host)["Xid errors"]["ok"]
        host.program("dmesg", "exit 1")
        assert "Xid errors" in skipped(table(apply, host))


class TestMig:
    @pytest.fixture
    def sliced(self, host: Replay) -> Replay:
        host.single("a100-mig", "01", "535.54.03")
        host.smi(listing=(RECORDED / "a100-mig-list.txt").read_text())
        return host

    @pytest.mark.parametrize(
        ("wanted", "well"),
        [(["1g.10gb"] * 4, True), (["1g.10gb"] * 7, False), (["3g.40gb"], False), ([], False)],
    )
    def test_slices_are_compared(
        self, apply: Any, sliced: Replay, wanted: list[str], well: bool
    ) -> None:
        row = table(apply, sliced, mig=wanted)["MIG"]
        assert (row["ok"], row["found"]) == (well, "gpu 0: 4 x 1g.10gb")
        assert well or "allow_reconfigure" in row["fix"]

    def test_a_gpu_that_can_be_cut_but_is_not(self, apply: Any, host: Replay) -> None:
        host.h100()
        assert not table(apply, host, mig=["1g.10gb"])["MIG"]["ok"]
        assert table(apply, host, mig=[])["MIG"]["ok"]

    def test_the_device_plugin_offers_slices(self, apply: Any, sliced: Replay) -> None:
        sliced.k3s(gpus={"nvidia.com/mig-1g.10gb": "4", "nvidia.com/gpu": "0"})
        assert table(apply, sliced, scope="all")["allocatable"]["ok"]


class TestContainers:
    def test_containerd_2_writes_it_otherwise(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.k3s(containerd=SAID["containerd_2"])
        assert table(apply, host, scope="all")["k3s runtime"]["ok"]

    def test_an_api_that_does_not_answer_is_not_judged(self, apply: Any, host: Replay) -> None:
        host.h100()
        host.program("k3s", "echo 'The connection to the server was refused' >&2; exit 1")
        rows = table(apply, host, scope="all")
        assert {"RuntimeClass", "allocatable"} <= skipped(rows)
        assert "refused" in rows["allocatable"]["found"]

    def test_of_several_nodes_its_own_counts(self, apply: Any, host: Replay) -> None:
        host.h100()
        nodes = json.loads((host.folder / "nodes.json").read_text())["items"]
        other = {"metadata": {"name": "other"}, "status": {"allocatable": {}}}
        (host.folder / "nodes.json").write_text(json.dumps({"items": [other, *nodes]}))
        assert table(apply, host, scope="all")["allocatable"]["ok"]
        own = {**nodes[0], "metadata": {"name": "w1"}}
        (host.folder / "nodes.json").write_text(json.dumps({"items": [other, own]}))
        assert "no node" in table(apply, host, scope="all")["allocatable"]["found"]
        assert table(apply, host, scope="all", node="W1")["allocatable"]["ok"]

    def test_a_node_that_is_not_registered_yet(self, apply: Any, host: Replay) -> None:
        host.h100()
        (host.folder / "nodes.json").write_text('{"items": []}')
        assert "no node" in table(apply, host, scope="all")["allocatable"]["found"]

    def test_the_toolkit_may_be_ignored(self, apply: Any, host: Replay) -> None:
        host.h100()
        (host.folder / "bin/nvidia-container-runtime").unlink()
        assert failed(table(apply, host), "warn") == {"container toolkit"}
        assert "container toolkit" not in table(apply, host, toolkit="ignore")


class TestOllama:
    NAME = "Ollama on the GPU"

    @pytest.mark.parametrize(
        ("in_gpu", "ok", "severity"),
        [(4000, True, "warn"), (0, False, "error"), (3000, False, "warn")],
    )
    def test_by_what_is_loaded(
        self, apply: Any, host: Replay, ollama: Ollama, in_gpu: int, ok: bool, severity: str
    ) -> None:
        host.h100()
        ollama.loads(4000, in_gpu)
        row = table(apply, host, scope="all", ollama_url=ollama.url)[self.NAME]
        assert (row["ok"], row["severity"]) == (ok, severity)
        assert row["found"] == f"llama3.2:latest: {in_gpu // 40}%"

    @pytest.mark.parametrize(
        ("said", "ok"), [("ollama_cuda", True), ("ollama_cuda_old", True), ("ollama_cpu", False)]
    )
    def test_by_its_log(
        self, apply: Any, host: Replay, ollama: Ollama, said: str, ok: bool
    ) -> None:
        host.h100()
        ollama.models = []
        host.says("journalctl", SAID[said])
        row = table(apply, host, scope="all", ollama_url=ollama.url)[self.NAME]
        assert row["ok"] is ok and row["severity"] == "error"

    def test_not_judged(self, apply: Any, host: Replay, ollama: Ollama) -> None:
        host.h100()
        ollama.models = []
        for url in ("", "http://127.0.0.1:9", ollama.url):
            assert self.NAME in skipped(table(apply, host, scope="all", ollama_url=url))
