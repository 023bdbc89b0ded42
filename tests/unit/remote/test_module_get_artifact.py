"""get_artifact: resumed, verified, unpacked, a no-op the second time."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fileserver import Behaviour, serving

from provisioner.remote.module import Context, ModuleFailed

DATA = os.urandom(3_000_000)
SHA256 = hashlib.sha256(DATA).hexdigest()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def packed(files: dict[str, bytes], links: dict[str, str] | None = None, kind: str = "gz") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{kind}") as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            info.mode = 0o755
            tar.addfile(info, io.BytesIO(content))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type = tarfile.SYMTYPE
            info.linkname = target
            tar.addfile(info)
    return out.getvalue()


def test_download_then_nothing(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    with serving(Behaviour({"/a": DATA})) as url:
        arguments = {
            "sources": [f"{url}/a"],
            "sha256": SHA256,
            "dest": str(tmp_path / "x/a"),
            "mode": "0755",
        }
        assert apply("get_artifact", **arguments, check=True)["changed"]
        assert not snapshot(tmp_path)
        result = apply("get_artifact", **arguments)
    assert result["changed"] and result["loaded"] == len(DATA)
    assert (tmp_path / "x/a").read_bytes() == DATA
    assert os.access(tmp_path / "x/a", os.X_OK)
    assert os.listdir(tmp_path / "x") == ["a"]
    # the server is gone: the second run needs no source
    before = snapshot(tmp_path)
    assert not apply("get_artifact", **arguments)["changed"]
    assert snapshot(tmp_path) == before
    assert apply("get_artifact", **{**arguments, "mode": "0644"})["changed"]


def test_a_cut_connection_is_continued(apply: Any, tmp_path: Path) -> None:
    behaviour = Behaviour({"/a": DATA}, cut=1_000_000, cuts=2)
    with serving(behaviour) as url:
        result = apply(
            "get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=str(tmp_path / "a")
        )
    assert result["loaded"] == len(DATA)
    assert [wanted for _, wanted in behaviour.asked] == ["", "bytes=1000000-", "bytes=2000000-"]


def test_the_next_run_continues_a_part(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA[:2_500_000])
    with serving(Behaviour({"/a": DATA})) as url:
        result = apply(
            "get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=str(tmp_path / "a")
        )
    assert result["loaded"] == 500_000 and result["resumed"] == 2_500_000
    assert (tmp_path / "a").read_bytes() == DATA


def test_what_is_left_by_another_version_costs_only_time(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(b"another version")
    with serving(Behaviour({"/a": DATA})) as url:
        apply("get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_server_without_ranges(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA[:1000])
    with serving(Behaviour({"/a": DATA}, ranges=False)) as url:
        apply("get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_complete_part_is_enough(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "a.part").write_bytes(DATA)
    apply("get_artifact", sources=["http://127.0.0.1:1/a"], sha256=SHA256, dest=str(tmp_path / "a"))
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_liar_is_named_and_the_next_source_asked(apply: Any, tmp_path: Path) -> None:
    with serving(Behaviour({"/lie": b"x" * 5000, "/a": DATA})) as url:
        secret = url.replace("http://", "http://user:secret@")
        sources = [f"{secret}/lie?sig=secret", f"{url}/404", "/no/such/file", f"{url}/a"]
        result = apply("get_artifact", sources=sources, sha256=SHA256, dest=str(tmp_path / "a"))
        assert result["source"] == f"{url}/a"
        reasons = {r["source"]: r["reason"] for r in result["refused"]}
        assert "wrong content" in reasons[f"{url}/lie"]
        assert "404" in reasons[f"{url}/404"]
        assert "No such file" in reasons["/no/such/file"]
        with pytest.raises(ModuleFailed, match="wrong content") as caught:
            apply("get_artifact", sources=sources[:1], sha256=SHA256, dest=str(tmp_path / "b"))
    assert "secret" not in str(caught.value) + str(caught.value.extra)
    assert not (tmp_path / "b").exists()


def test_a_wrong_size_is_refused_before_it_is_loaded(apply: Any, tmp_path: Path) -> None:
    with serving(Behaviour({"/a": DATA})) as url, pytest.raises(ModuleFailed, match="not 10"):
        apply(
            "get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=str(tmp_path / "a"), size=10
        )


def test_a_silent_server_is_given_up(apply: Any, tmp_path: Path) -> None:
    started = time.monotonic()
    limits = {"timeout": 0.2, "deadline": 1}
    dest = str(tmp_path / "a")
    with (
        serving(Behaviour({"/a": DATA}, stall=True)) as url,
        pytest.raises(ModuleFailed, match="time"),
    ):
        apply("get_artifact", sources=[f"{url}/a"], sha256=SHA256, dest=dest, **limits)
    assert time.monotonic() - started < 5


def test_progress_is_told_but_not_too_often(apply: Any, tmp_path: Path) -> None:
    told: list[tuple[int, int, str]] = []
    context = Context(progress=lambda *event: told.append(event))
    with serving(Behaviour({"/a": DATA})) as url:
        apply(
            "get_artifact",
            context=context,
            sources=[f"{url}/a"],
            sha256=SHA256,
            dest=str(tmp_path / "a"),
        )
    assert told[-1] == (len(DATA), len(DATA), "a")
    assert len(told) < 10


def sender(content: bytes, asked: list[int]) -> Context:
    """A controller that has some content; it notes from where it was to send."""

    def stream(sha256: str, offset: int, sink: Any) -> None:
        asked.append(offset)
        for start in range(offset, len(content), 100_000):
            sink(content[start : start + 100_000])

    return Context(stream=stream)


def test_the_controller_is_a_source(apply: Any, tmp_path: Path) -> None:
    asked: list[int] = []
    context = sender(DATA, asked)
    arguments = {"sources": ["controller"], "sha256": SHA256, "dest": str(tmp_path / "a")}
    assert apply("get_artifact", context=context, **arguments)["source"] == "controller"
    assert (tmp_path / "a").read_bytes() == DATA and asked == [0]


def test_the_controller_sends_what_is_missing(apply: Any, tmp_path: Path) -> None:
    asked: list[int] = []
    (tmp_path / "a.part").write_bytes(DATA[:1_000_000])
    arguments = {"sources": ["controller"], "sha256": SHA256, "dest": str(tmp_path / "a")}
    result = apply("get_artifact", context=sender(DATA, asked), **arguments)
    assert (asked, result["loaded"]) == ([1_000_000], len(DATA) - 1_000_000)
    (tmp_path / "a").unlink()
    (tmp_path / "a.part").write_bytes(b"of another version")
    apply("get_artifact", context=sender(DATA, asked), **arguments)
    assert asked[1:] == [18, 0] and (tmp_path / "a").read_bytes() == DATA


def test_a_controller_that_has_another_file_or_none(apply: Any, tmp_path: Path) -> None:
    sources = {"sources": ["controller"], "push": "/p/a"}
    arguments = {**sources, "sha256": SHA256, "dest": str(tmp_path / "a")}
    with pytest.raises(ModuleFailed, match="controller: wrong content: its SHA-256"):
        apply("get_artifact", context=sender(b"x" * 10, []), **arguments)
    with pytest.raises(ModuleFailed, match="controller: has no file /p/a"):
        apply("get_artifact", context=sender(b"", []), **arguments)
    with serving(Behaviour({"/a": DATA})) as url:
        arguments["sources"] = ["controller", f"{url}/a"]
        result = apply("get_artifact", context=sender(b"", []), **arguments)
    assert result["refused"][0]["source"] == "controller" and result["source"] == f"{url}/a"


@pytest.mark.skipif(shutil.which("zstd") is None, reason="there is no zstd to pack with")
def test_a_zstd_archive(apply: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = packed({"bin/tool": DATA, "lib/a": b"1"}, {"lib/b": "a"}, kind="")
    data = subprocess.run(["zstd", "-q"], input=plain, capture_output=True, check=True).stdout
    (tmp_path / "a.tar.zst").write_bytes(data)
    (tmp_path / "cut.tar.zst").write_bytes(data[: len(data) // 2])
    arguments: dict[str, Any] = {"dest": str(tmp_path / "usr"), "extract": "tar.zst", "name": "t"}
    for name in ("cut.tar.zst", "a.tar.zst"):
        arguments["sources"] = [str(tmp_path / name)]
        arguments["sha256"] = sha256((tmp_path / name).read_bytes())
        if name == "cut.tar.zst":
            with pytest.raises(ModuleFailed, match=r"cannot unpack|zstd can.t"):
                apply("get_artifact", **arguments)
    assert apply("get_artifact", **arguments)["changed"]
    assert (tmp_path / "usr/bin/tool").read_bytes() == DATA
    assert (tmp_path / "usr/lib/b").read_bytes() == b"1"
    assert not apply("get_artifact", **arguments)["changed"]
    if sys.version_info < (3, 14):
        (tmp_path / "usr/lib/a").unlink()
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ModuleFailed, match=r"Python 3\.\d+ can't read: install zstd"):
            apply("get_artifact", **arguments)


def test_unpacking(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    first = packed({"./bin/tool": b"1", "./lib/old.so": b"old"}, {"./lib/link": "old.so"})
    second = packed({"bin/tool": b"22", "lib/new.so": b"new"})
    folder = tmp_path / "usr"
    folder.mkdir()
    (folder / "mine").write_text("mine")
    arguments = {"dest": str(folder), "extract": "tar.gz", "creates": "bin/tool"}
    (tmp_path / "1.tgz").write_bytes(first)
    (tmp_path / "2.tgz").write_bytes(second)
    one = {**arguments, "sources": [str(tmp_path / "1.tgz")], "sha256": sha256(first)}
    two = {**arguments, "sources": [str(tmp_path / "2.tgz")], "sha256": sha256(second)}
    assert apply("get_artifact", **one)["changed"]
    assert (folder / "bin/tool").read_bytes() == b"1"
    assert os.access(folder / "bin/tool", os.X_OK)
    assert (folder / "lib/link").read_bytes() == b"old"
    before = snapshot(tmp_path)
    assert not apply("get_artifact", **one)["changed"]
    assert apply("get_artifact", **two, check=True)["changed"]
    assert snapshot(tmp_path) == before
    (folder / "bin/tool").unlink()
    assert apply("get_artifact", **one)["changed"], "a missing file is unpacked again"
    assert apply("get_artifact", **two)["changed"]
    assert (folder / "bin/tool").read_bytes() == b"22"
    assert not (folder / "lib/old.so").exists(), "what only the old version had is gone"
    assert apply("get_artifact", **arguments, state="absent", check=True)["changed"]
    assert apply("get_artifact", **arguments, state="absent")["changed"]
    assert os.listdir(folder) == ["mine"]
    assert not apply("get_artifact", **arguments, state="absent")["changed"]


def test_folders_that_were_there_stay(apply: Any, tmp_path: Path) -> None:
    data = packed({"bin/tool": b"1", "lib/tool/a.so": b"a", "share/b": b"b"})
    (tmp_path / "tool.tgz").write_bytes(data)
    folder = tmp_path / "usr"
    for name in ("bin", "lib"):
        (folder / name).mkdir(parents=True)
    arguments = {"dest": str(folder), "extract": "tgz", "creates": "bin/tool"}
    source = {"sources": [str(tmp_path / "tool.tgz")], "sha256": sha256(data)}
    assert apply("get_artifact", **arguments, **source)["changed"]
    assert apply("get_artifact", **arguments, state="absent")["changed"]
    assert sorted(str(path.relative_to(folder)) for path in folder.rglob("*")) == ["bin", "lib"]


def test_member_and_strip(apply: Any, tmp_path: Path) -> None:
    archive = packed({"top/tool": b"x", "top/README": b"y"}, kind="xz")
    (tmp_path / "a.tar.xz").write_bytes(archive)
    arguments = {
        "sources": [str(tmp_path / "a.tar.xz")],
        "sha256": sha256(archive),
        "dest": str(tmp_path / "out"),
        "extract": "tar.xz",
        "member": ["top/tool"],
        "strip": 1,
        "mode": "0700",
        "name": "tool",
    }
    assert apply("get_artifact", **arguments)["changed"]
    assert sorted(os.listdir(tmp_path / "out")) == [".tool.sha256", "tool"]
    assert not apply("get_artifact", **arguments)["changed"]
    with pytest.raises(ModuleFailed, match="has no top/other"):
        apply("get_artifact", **{**arguments, "member": ["top/other"], "name": "other"})


def test_zip(apply: Any, tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        file.writestr("d/f", "content")
    (tmp_path / "a.zip").write_bytes(out.getvalue())
    arguments = {
        "sources": [f"file://{tmp_path}/a.zip"],
        "sha256": sha256(out.getvalue()),
        "dest": str(tmp_path / "out"),
        "extract": "zip",
        "creates": "d/f",
    }
    assert apply("get_artifact", **arguments)["changed"]
    assert (tmp_path / "out/d/f").read_text() == "content"


@pytest.mark.parametrize(
    "archive",
    [
        packed({"../escape": b"x"}),
        packed({"/escape": b"x"}),
        packed({}, {"link": "../../escape"}),
        packed({}, {"link": "/etc/passwd"}),
    ],
    ids=["climbs", "absolute", "link that climbs", "absolute link"],  # their bytes have the time
)
def test_an_archive_may_not_lead_outside(apply: Any, tmp_path: Path, archive: bytes) -> None:
    (tmp_path / "a.tgz").write_bytes(archive)
    with pytest.raises(ModuleFailed, match="leads out"):
        apply(
            "get_artifact",
            sources=[str(tmp_path / "a.tgz")],
            sha256=sha256(archive),
            dest=str(tmp_path / "d/out"),
            extract="tgz",
        )
    assert not (tmp_path / "d/escape").exists()


def test_arguments(apply: Any, tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="sha256"):
        apply("get_artifact", sources=["/x"], sha256="abc", dest=str(tmp_path / "a"))
    with pytest.raises(ModuleFailed, match="sources"):
        apply("get_artifact", sources=[], sha256=SHA256, dest=str(tmp_path / "a"))
