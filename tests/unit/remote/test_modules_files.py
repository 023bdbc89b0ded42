"""copy, file, lineinfile, stat and slurp: state, second run, check mode, diff."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import Context, ModuleFailed


def test_copy_content(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    dest = str(tmp_path / "a")
    before = snapshot(tmp_path)
    foreseen = apply("copy", dest=dest, content="hällo\n", mode="0600", check=True, diff=True)
    assert foreseen["changed"] and snapshot(tmp_path) == before
    assert foreseen["diff"] == {"before": "", "after": "hällo\n", "path": dest}
    made = apply("copy", dest=dest, content="hällo\n", mode="0600")
    assert made["changed"] and made["mode"] == "0600" and made["state"] == "file"
    before = snapshot(tmp_path)
    again = apply("copy", dest=dest, content="hällo\n", mode="0600", diff=True)
    assert not again["changed"] and snapshot(tmp_path) == before
    assert apply("copy", dest=dest, content="hällo\n", mode="0640", check=True)["changed"]
    assert snapshot(tmp_path) == before
    only_mode = apply("copy", dest=dest, content="hällo\n", mode="0640", diff=True)
    assert only_mode["changed"] and "mode: 0640" in only_mode["diff"]["after"]


def test_copy_blob_is_fetched_only_when_needed(apply: Any, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"\x00\xff" * 5000)
    sha256 = hashlib.sha256(source.read_bytes()).hexdigest()
    asked = []

    def blob(wanted: str) -> Path:
        asked.append(wanted)
        return source

    context = Context(blob=blob)
    dest = tmp_path / "out"
    assert apply("copy", context=context, dest=str(dest), sha256=sha256)["changed"]
    assert not apply("copy", context=context, dest=str(dest), sha256=sha256)["changed"]
    assert asked == [sha256]
    assert dest.read_bytes() == source.read_bytes()


def test_copy_refuses_damaged_content(apply: Any, tmp_path: Path) -> None:
    source = tmp_path / "blob"
    source.write_bytes(b"damaged")
    dest = tmp_path / "out"
    with pytest.raises(ModuleFailed, match="damaged"):
        apply("copy", context=Context(blob=lambda _: source), dest=str(dest), sha256="0" * 64)
    assert not dest.exists()


def test_copy_into_a_directory(apply: Any, tmp_path: Path) -> None:
    arguments = {"content": "x", "_original_basename": "name.conf"}
    assert (
        apply("copy", dest=f"{tmp_path}/new/", **arguments)["dest"] == f"{tmp_path}/new/name.conf"
    )
    assert not apply("copy", dest=f"{tmp_path}/new", **arguments)["changed"]
    with pytest.raises(ModuleFailed, match="does not exist"):
        apply("copy", dest=f"{tmp_path}/absent/file", content="x")
    with pytest.raises(ModuleFailed, match="file name"):
        apply("copy", dest=str(tmp_path), content="x")


def test_copy_force_backup_and_validate(apply: Any, tmp_path: Path) -> None:
    dest = tmp_path / "a"
    dest.write_text("old")
    assert not apply("copy", dest=str(dest), content="new", force=False)["changed"]
    result = apply("copy", dest=str(dest), content="new", backup=True)
    assert Path(result["backup_file"]).read_text() == "old"
    with pytest.raises(ModuleFailed, match="failed to validate"):
        apply("copy", dest=str(dest), content="bad", validate="false %s")
    assert dest.read_text() == "new"


def test_copy_remote_src(apply: Any, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_text("x")
    source.chmod(0o711)
    arguments = {"src": str(source), "remote_src": True, "dest": str(tmp_path / "d")}
    assert apply("copy", **arguments, mode="preserve")["mode"] == "0711"
    assert not apply("copy", **arguments, mode="preserve")["changed"]


def test_copy_replaces_a_link_unless_it_follows(apply: Any, tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    apply("copy", dest=str(link), content="new", follow=True)
    assert link.is_symlink() and target.read_text() == "new"
    assert apply("copy", dest=str(link), content="new")["changed"]
    assert not link.is_symlink()


def test_directories(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    arguments = {"path": str(tmp_path / "a/b/c"), "state": "directory", "mode": "0750"}
    assert apply("file", **arguments, check=True)["changed"] and not snapshot(tmp_path)
    assert apply("file", **arguments)["changed"]
    assert oct((tmp_path / "a").stat().st_mode)[-3:] == "750"
    assert not apply("file", **arguments)["changed"]
    (tmp_path / "a/b/c/f").touch(0o600)
    recursive = {**arguments, "path": str(tmp_path / "a"), "mode": "u=rwX,g=rX,o=", "recurse": True}
    assert apply("file", **recursive)["changed"]
    assert not apply("file", **recursive)["changed"]
    assert oct((tmp_path / "a/b/c/f").stat().st_mode)[-3:] == "640"
    (tmp_path / "file").touch()
    with pytest.raises(ModuleFailed, match="already exists as a file"):
        apply("file", path=str(tmp_path / "file"), state="directory")


def test_absent(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    (tmp_path / "d/e").mkdir(parents=True)
    (tmp_path / "d/f").touch()
    before = snapshot(tmp_path)
    assert apply("file", path=str(tmp_path / "d"), state="absent", check=True)["changed"]
    assert snapshot(tmp_path) == before
    result = apply("file", path=str(tmp_path / "d"), state="absent")
    assert result["changed"] and result["state"] == "absent"
    assert not apply("file", path=str(tmp_path / "d"), state="absent")["changed"]


def test_absent_takes_the_link_not_its_target(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "d")
    assert apply("file", path=str(tmp_path / "link"), state="absent")["changed"]
    assert (tmp_path / "d").is_dir()


def test_links(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "one").write_text("1")
    (tmp_path / "two").write_text("2")
    link = str(tmp_path / "link")
    arguments = {"path": link, "state": "link", "src": str(tmp_path / "one")}
    assert apply("file", **arguments, check=True)["changed"] and not os.path.lexists(link)
    assert apply("file", **arguments)["changed"]
    assert not apply("file", **arguments)["changed"]
    other = apply("file", path=link, state="link", src=str(tmp_path / "two"), diff=True)
    assert other["changed"] and str(tmp_path / "two") in other["diff"]["after"]
    with pytest.raises(ModuleFailed, match="src file does not exist"):
        apply("file", path=str(tmp_path / "x"), state="link", src="missing")
    assert apply("file", path=str(tmp_path / "x"), state="link", src="missing", force=True)[
        "changed"
    ]
    with pytest.raises(ModuleFailed, match="refusing to convert"):
        apply("file", path=str(tmp_path / "one"), state="link", src=str(tmp_path / "two"))
    hard = {"path": str(tmp_path / "h"), "state": "hard", "src": str(tmp_path / "one")}
    assert apply("file", **hard)["changed"]
    assert not apply("file", **hard)["changed"]


def test_touch_and_default_state(apply: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "t")
    with pytest.raises(ModuleFailed, match="is absent, cannot continue"):
        apply("file", path=path)
    assert apply("file", path=path, state="touch", mode="0600")["changed"]
    assert apply("file", path=path, state="touch")["changed"]
    kept = {"access_time": "preserve", "modification_time": "preserve"}
    assert not apply("file", path=path, state="touch", **kept)["changed"]
    assert not apply("file", path=path, mode="0600")["changed"]
    assert apply("file", path=path, mode="0644")["changed"]


LINES = "a=1\nb=2\n# c\n"


@pytest.mark.parametrize(
    "arguments,after",
    [
        ({"line": "d=4"}, LINES + "d=4\n"),
        ({"line": "b=2"}, LINES),
        ({"regexp": "^b=", "line": "b=3"}, "a=1\nb=3\n# c\n"),
        ({"regexp": "^x=", "line": "x=3", "insertafter": "^a="}, "a=1\nx=3\nb=2\n# c\n"),
        ({"regexp": "^x=", "line": "x=3", "insertbefore": "^b="}, "a=1\nx=3\nb=2\n# c\n"),
        ({"line": "x", "insertbefore": "BOF"}, "x\n" + LINES),
        ({"regexp": "^(.)=2", "line": r"\1=9", "backrefs": True}, "a=1\nb=9\n# c\n"),
        ({"regexp": "^(z)=2", "line": r"\1=9", "backrefs": True}, LINES),
        ({"regexp": "=", "state": "absent"}, "# c\n"),
        ({"line": "b=2", "state": "absent"}, "a=1\n# c\n"),
        ({"search_string": "b=", "line": "b.x"}, "a=1\nb.x\n# c\n"),
        ({"regexp": "=", "line": "y=1", "firstmatch": True}, "y=1\nb=2\n# c\n"),
    ],
)
def test_lineinfile(
    apply: Any, tmp_path: Path, snapshot: Any, arguments: dict[str, Any], after: str
) -> None:
    path = tmp_path / "f"
    path.write_text(LINES)
    before = snapshot(tmp_path)
    foreseen = apply("lineinfile", path=str(path), **arguments, check=True, diff=True)
    assert snapshot(tmp_path) == before
    assert foreseen["changed"] == (after != LINES)
    if foreseen["changed"]:
        assert foreseen["diff"]["after"] == after
    assert apply("lineinfile", path=str(path), **arguments)["changed"] == (after != LINES)
    assert path.read_text() == after


def test_lineinfile_creates_and_repeats(apply: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "new/f")
    with pytest.raises(ModuleFailed, match="does not exist"):
        apply("lineinfile", path=path, line="x")
    assert apply("lineinfile", path=path, line="x", create=True, mode="0600")["changed"]
    assert not apply("lineinfile", path=path, line="x", create=True, mode="0600")["changed"]
    assert not apply("lineinfile", path=path + "2", line="x", state="absent")["changed"]


def test_stat(apply: Any, tmp_path: Path) -> None:
    assert apply("stat", path=str(tmp_path / "no"))["stat"] == {"exists": False}
    path = tmp_path / "f"
    path.write_text("abc")
    found = apply("stat", path=str(path))["stat"]
    assert found["checksum"] == hashlib.sha1(b"abc").hexdigest()
    assert found["size"] == 3 and found["isreg"] and not found["isdir"] and found["rusr"]
    sha256 = apply("stat", path=str(path), checksum_algorithm="sha256")["stat"]["checksum"]
    assert sha256 == hashlib.sha256(b"abc").hexdigest()
    (tmp_path / "l").symlink_to("f")
    assert apply("stat", path=str(tmp_path / "l"))["stat"]["lnk_target"] == "f"
    assert apply("stat", path=str(tmp_path / "l"), follow=True)["stat"]["isreg"]


def test_slurp(apply: Any, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"\xff\x00")
    result = apply("slurp", src=str(tmp_path / "f"))
    assert base64.b64decode(result["content"]) == b"\xff\x00"
    with pytest.raises(ModuleFailed, match="not found"):
        apply("slurp", src=str(tmp_path / "no"))
