"""unarchive; what it does and when it changes something was compared with ansible-core 2.19."""

from __future__ import annotations

import os
import tarfile
import time
import zipfile
from pathlib import Path
from typing import Any

import pytest
from fileserver import Behaviour, serving

from provisioner.remote.module import Context, ModuleFailed

DATE = time.mktime((2001, 2, 3, 4, 5, 6, 0, 0, -1))
ROOT = os.geteuid() == 0
FORMATS = ("tar", "tar.gz", "tar.bz2", "tar.xz", "zip")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder to pack: modes, dates, a link."""
    top = tmp_path / "source/top"
    (top / "sub").mkdir(parents=True)
    (top / "one").write_text("one\n")
    (top / "run").write_text("#!/bin/sh\n")
    (top / "run").chmod(0o755)
    (top / "sub/two ü").write_text("two\n")
    (top / "sub/two ü").chmod(0o640)
    (top / "link").symlink_to("one")
    for path in (top / "one", top / "run", top / "sub/two ü", top / "sub", top):
        os.utime(path, (DATE, DATE))
    return top


def pack(top: Path, kind: str) -> Path:
    """An archive of the folder beside it."""
    path = top.parent.parent / f"a.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
            for member in (top, *sorted(top.rglob("*"))):
                name = str(member.relative_to(top.parent))
                if member.is_symlink():
                    info = zipfile.ZipInfo(name)
                    info.external_attr = 0o120777 << 16
                    packed.writestr(info, os.readlink(member))
                else:
                    packed.write(member, name)
        return path
    with tarfile.open(path, "w:" + kind.partition(".")[2]) as tar:
        tar.add(top, top.name)
    return path


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where to unpack."""
    folder = tmp_path / "dest"
    folder.mkdir()
    return folder


def looks(folder: Path) -> dict[str, Any]:
    """Type, mode and content of all below, and the dates of files."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        link = os.readlink(path) if path.is_symlink() else ""
        date = info.st_mtime if path.is_file() and not link else 0.0
        content = path.read_bytes() if path.is_file() else b""
        found[str(path.relative_to(folder))] = (info.st_mode, date, link, content)
    return found


@pytest.mark.parametrize("kind", FORMATS)
def test_unpacks_once(apply: Any, tree: Path, dest: Path, kind: str) -> None:
    arguments = {"src": str(pack(tree, kind)), "dest": str(dest), "remote_src": True}
    foreseen = apply("unarchive", **arguments, check=True)
    assert foreseen["changed"] if kind == "zip" else foreseen["skipped"]
    assert not list(dest.iterdir())
    done = apply("unarchive", **arguments, list_files=True)
    assert done["changed"] and looks(dest) == looks(tree.parent)
    assert {name.rstrip("/") for name in done["files"]} == set(looks(dest)), done["files"]
    assert not apply("unarchive", **arguments)["changed"]
    assert not apply("unarchive", **arguments, check=True)["changed"]
    assert (dest / "top/sub").stat().st_mtime == DATE
    for damage in (
        lambda path: path.write_text("ONE\n"),
        lambda path: os.utime(path, (1, 1)),
        lambda path: path.unlink(),
        lambda path: path.chmod(0o600),
        lambda path: os.chown(path, 1234, 1234),
    )[: None if ROOT else -1]:
        damage(dest / "top/one")
        os.utime(dest / "top", (DATE, DATE))
        assert apply("unarchive", **arguments)["changed"], damage
        assert looks(dest) == looks(tree.parent)
        assert not apply("unarchive", **arguments)["changed"]


@pytest.mark.skipif(not ROOT, reason="only root can give files away")
@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_attributes(apply: Any, tree: Path, dest: Path, kind: str) -> None:
    arguments = {"src": str(pack(tree, kind)), "dest": str(dest), "remote_src": True}
    arguments.update(owner="nobody", group="nogroup", mode="u=rwX,g=rX,o=")
    assert apply("unarchive", **arguments)["changed"]
    modes = {name: oct(mode & 0o777) for name, (mode, *_) in looks(dest).items()}
    assert modes.pop("top/link") == "0o777"
    wanted = {"top": 0o750, "top/one": 0o640, "top/run": 0o750, "top/sub": 0o750}
    assert modes == {name: oct(mode) for name, mode in {**wanted, "top/sub/two ü": 0o640}.items()}
    assert (dest / "top/one").owner() == "nobody" and (dest / "top").group() == "nogroup"
    assert not apply("unarchive", **arguments)["changed"]


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_some_members(apply: Any, tree: Path, dest: Path, kind: str) -> None:
    arguments = {"src": str(pack(tree, kind)), "dest": str(dest), "remote_src": True}
    some = {**arguments, "include": ["top/one"]}
    assert apply("unarchive", **some)["changed"] and set(looks(dest)) == {"top", "top/one"}
    assert not apply("unarchive", **some)["changed"]
    with pytest.raises(ModuleFailed, match="top/nope"):
        apply("unarchive", **arguments, include=["top/nope"])
    others = {**arguments, "exclude": ["top/sub*", "top/sub/*", "top/run"]}
    assert apply("unarchive", **others)["changed"]
    assert set(looks(dest)) == {"top", "top/one", "top/link"}
    assert not apply("unarchive", **others)["changed"]
    with pytest.raises(ModuleFailed, match="mutually exclusive"):
        apply("unarchive", **others, include=["x"])


@pytest.mark.parametrize("kind", ["tar.gz", "zip"])
def test_keeps_what_is_newer(apply: Any, tree: Path, dest: Path, kind: str) -> None:
    (dest / "top").mkdir()
    (dest / "top/one").write_text("mine")
    arguments = {"src": str(pack(tree, kind)), "dest": str(dest), "remote_src": True}
    assert apply("unarchive", **arguments, keep_newer=True)["changed"]
    assert (dest / "top/one").read_text() == "mine" and (dest / "top/run").exists()


def test_extra_options(apply: Any, tree: Path, dest: Path) -> None:
    arguments = {"src": str(pack(tree, "tar.gz")), "dest": str(dest), "remote_src": True}
    arguments["extra_opts"] = ["--strip-components=1", "--show-stored-names"]
    assert apply("unarchive", **arguments, mode="0700")["changed"]
    assert set(looks(dest)) == {"link", "one", "run", "sub", "sub/two ü"}
    assert not apply("unarchive", **arguments, mode="0700")["changed"]


def test_creates(apply: Any, tree: Path, dest: Path) -> None:
    arguments = {"src": str(pack(tree, "tar")), "dest": str(dest), "remote_src": True}
    creates = str(dest / "top")
    assert apply("unarchive", **arguments, creates=creates)["changed"]
    assert apply("unarchive", **arguments, creates=creates)["skipped"]
    assert apply("unarchive", **{**arguments, "src": "/no/such"}, creates=creates)["skipped"]


def test_a_blob_or_a_url(apply: Any, tree: Path, dest: Path) -> None:
    archive = pack(tree, "zip")
    context = Context(blob=lambda sha256: archive)
    assert apply("unarchive", src="a.zip", sha256="AB" * 32, dest=str(dest), context=context)
    assert looks(dest) == looks(tree.parent)
    with pytest.raises(ModuleFailed, match="failed to transfer"):
        apply("unarchive", src="a.zip", dest=str(dest))
    with serving(Behaviour({"/a.zip": archive.read_bytes()})) as url:
        arguments = {"dest": str(dest), "copy": False}
        assert not apply("unarchive", src=f"{url}/a.zip", **arguments)["changed"]
        with pytest.raises(ModuleFailed, match="Failure downloading"):
            apply("unarchive", src=f"{url}/b.zip", **arguments)


def test_without_a_program_for_its_compression(
    apply: Any, tree: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/tar").symlink_to("/usr/bin/tar")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    arguments = {"dest": str(dest), "remote_src": True}
    assert apply("unarchive", src=str(pack(tree, "tar.xz")), **arguments)["changed"]
    assert not apply("unarchive", src=str(pack(tree, "tar.gz")), **arguments)["changed"]
    (tmp_path / "a.tar.zst").write_bytes(b"\x28\xb5\x2f\xfd")
    with pytest.raises(ModuleFailed, match="without zstd"):
        apply("unarchive", src=str(tmp_path / "a.tar.zst"), **arguments)


def test_a_tar_that_ends_with_a_zip(apply: Any, tree: Path, dest: Path) -> None:
    archive = pack(tree, "zip")
    with tarfile.open(archive.with_name("b.tar"), "w") as tar:
        tar.add(archive, "inner.zip")
    apply("unarchive", src=str(archive.with_name("b.tar")), dest=str(dest), remote_src=True)
    assert set(looks(dest)) == {"inner.zip"}


@pytest.mark.parametrize("names", [["../out"], ["/etc/out"], ["l", "l/out"]])
def test_a_zip_that_leads_out(apply: Any, tmp_path: Path, dest: Path, names: list[str]) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        for name in names:
            info = zipfile.ZipInfo(name)
            info.external_attr = (0o120777 if name == "l" else 0o100644) << 16
            packed.writestr(info, "..")
    with pytest.raises(ModuleFailed, match="leads out"):
        apply("unarchive", src=str(tmp_path / "a.zip"), dest=str(dest), remote_src=True)
    assert not list(dest.iterdir()) and not (tmp_path / "out").exists()


def test_names_that_zip_does_not_mark(apply: Any, tree: Path, dest: Path, tmp_path: Path) -> None:
    """Info-ZIP writes the bytes of a name, without saying that they are UTF-8."""
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.writestr("x" * 6, "text")
    data = (tmp_path / "a.zip").read_bytes().replace(b"x" * 6, "üü.x".encode())
    (tmp_path / "a.zip").write_bytes(data)
    arguments = {"src": str(tmp_path / "a.zip"), "dest": str(dest), "remote_src": True}
    assert apply("unarchive", **arguments)["changed"]
    assert not apply("unarchive", **arguments)["changed"]
    assert [path.name for path in dest.iterdir()] == ["üü.x"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "0 bytes"),
        (b"no archive", "could not handle"),
        (b"\x1f\x8b\x08\x00cut", "could not handle"),
        (None, "does not exist"),
    ],
)
def test_no_archive(
    apply: Any, tmp_path: Path, dest: Path, content: bytes | None, message: str
) -> None:
    if content is not None:
        (tmp_path / "a").write_bytes(content)
    with pytest.raises(ModuleFailed, match=message):
        apply("unarchive", src=str(tmp_path / "a"), dest=str(dest), remote_src=True)
    with pytest.raises(ModuleFailed, match="existing dir"):
        apply("unarchive", src=str(tmp_path / "a"), dest=str(dest / "no"), remote_src=True)


def test_other_content_of_the_same_size_and_date(apply: Any, tree: Path, dest: Path) -> None:
    arguments = {"src": str(pack(tree, "zip")), "dest": str(dest), "remote_src": True}
    apply("unarchive", **arguments)
    (dest / "top/one").write_text("ONE\n")
    os.utime(dest / "top/one", (DATE, DATE))
    assert apply("unarchive", **arguments)["changed"]
    assert (dest / "top/one").read_text() == "one\n"


def test_damaged_content(apply: Any, tree: Path, dest: Path) -> None:
    archive = pack(tree, "zip")
    with zipfile.ZipFile(archive) as packed:
        at = packed.getinfo("top/one").header_offset + 30 + len("top/one")
    data = bytearray(archive.read_bytes())
    data[at] ^= 0xFF
    archive.write_bytes(data)
    with pytest.raises(ModuleFailed, match="failed to unpack"):
        apply("unarchive", src=str(archive), dest=str(dest), remote_src=True)
    assert not list(dest.rglob(".b9prov*")) and not (dest / "top/one").exists()
