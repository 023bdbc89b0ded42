"""replace, find, tempfile, raw, script, fetch and setup; the results are ansible-core 2.19's."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote.module import Context, ModuleFailed
from provisioner.remote.modules import fetch

SCRIPT = '#!/bin/sh\necho "$0"\necho "$@"\necho e >&2\nexit ${1:-0}\n'


def test_replace(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    path = tmp_path / "f"
    path.write_text("one\ntwo\nthree one\n")
    arguments = {"path": str(path), "regexp": "^(o)ne$", "replace": r"\g<1>1"}
    before = snapshot(tmp_path)
    foreseen = apply("replace", **arguments, check=True, diff=True)
    assert foreseen["changed"] and snapshot(tmp_path) == before
    assert foreseen["diff"]["after"] == "o1\ntwo\nthree one\n"
    done = apply("replace", **arguments)
    assert done["msg"] == "1 replacements made" and done["rc"] == 0
    assert path.read_text() == "o1\ntwo\nthree one\n"
    again = apply("replace", **arguments)
    assert not again["changed"] and again["msg"] == ""
    attributes = apply("replace", **arguments, mode="0600")
    assert attributes["changed"] and attributes["msg"].startswith("ownership, perms")
    assert apply("replace", **{**arguments, "regexp": "(two)"}, backup=True)["backup_file"]


@pytest.mark.parametrize(
    ("bounds", "text"),
    [
        ({"after": "b1\n", "before": "e"}, "x\nb1\nX\nx\ne\nx\n"),
        ({"after": "b1\n"}, "x\nb1\nX\nX\ne\nX\n"),
        ({"before": "b1"}, "X\nb1\nx\nx\ne\nx\n"),
    ],
)
def test_replace_between(apply: Any, tmp_path: Path, bounds: Any, text: str) -> None:
    path = tmp_path / "f"
    path.write_text("x\nb1\nx\nx\ne\nx\n")
    regexp = "x" if len(bounds) == 1 else r"x(?=\nx)"
    assert apply("replace", path=str(path), regexp=regexp, replace="X", **bounds)["changed"]
    assert path.read_text() == text
    nowhere = apply("replace", path=str(path), regexp="x", after="no such thing")
    assert not nowhere["changed"] and "did not match" in nowhere["msg"]


def test_replace_keeps_bytes_that_are_no_text(apply: Any, tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"a\r\n\xffb\n")
    (tmp_path / "link").symlink_to("f")
    assert apply("replace", path=str(tmp_path / "link"), regexp="b$", replace="ü")["changed"]
    assert path.read_bytes() == b"a\r\n\xff\xc3\xbc\n" and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"path": "no", "regexp": "x"}, "does not exist"),
        ({"path": ".", "regexp": "x"}, "is a directory"),
        ({"path": "f", "regexp": "("}, "no regular expression"),
        ({"path": "f", "regexp": "x", "replace": r"\3"}, "Unable to process replace"),
        ({"path": "f", "regexp": "x", "encoding": "nope"}, "nope"),
        ({"path": "f", "regexp": "x", "validate": "false %s"}, "failed to validate"),
    ],
)
def test_replace_fails(apply: Any, tmp_path: Path, arguments: Any, message: str) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ModuleFailed, match=message):
        apply("replace", **{**arguments, "path": str(tmp_path / arguments["path"])})
    assert (tmp_path / "f").read_text() == "x"


def test_tempfile(apply: Any, tmp_path: Path) -> None:
    assert apply("tempfile", path=str(tmp_path), check=True)["skipped"]
    assert not list(tmp_path.iterdir())
    made = apply("tempfile", path=str(tmp_path), suffix=".x")
    assert made["changed"] and made["mode"] == "0600" and made["state"] == "file"
    assert Path(made["path"]).name.startswith("ansible.") and made["path"].endswith(".x")
    folder = apply("tempfile", path=str(tmp_path), state="directory", prefix="p")
    assert folder["mode"] == "0700" and Path(folder["path"]).is_dir()
    with pytest.raises(ModuleFailed, match="file name component"):
        apply("tempfile", prefix="a/b")
    with pytest.raises(ModuleFailed, match="No such file"):
        apply("tempfile", path=str(tmp_path / "no"))


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Files of several ages, sizes and modes, hidden ones and links."""
    (tmp_path / "a/b/c").mkdir(parents=True)
    (tmp_path / ".h").mkdir()
    for name, text in (
        ("a/x.txt", "hello\n"),
        ("a/b/y.log", "x\nwally y\n"),
        ("a/b/c/z.log", "\0" * 5000),
        (".hid", "\n"),
        (".h/in", "\n"),
    ):
        (tmp_path / name).write_text(text)
    (tmp_path / "a/b/y.log").chmod(0o600)
    old = time.time() - 3 * 86400
    os.utime(tmp_path / "a/x.txt", (old, old))
    (tmp_path / "la").symlink_to("a")
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ({"recurse": False}, ""),
        ({}, ".h/in a/b/c/z.log a/b/y.log a/x.txt"),
        ({"hidden": True}, ".h/in .hid a/b/c/z.log a/b/y.log a/x.txt"),
        ({"file_type": "any", "depth": 2}, ".h/in a a/b a/x.txt la"),
        ({"file_type": "directory"}, "a a/b a/b/c"),
        ({"file_type": "link"}, "la"),
        ({"follow": True, "patterns": "*.txt"}, "a/x.txt la/x.txt"),
        ({"patterns": "*.log,*.txt", "excludes": "y*"}, "a/b/c/z.log a/x.txt"),
        ({"patterns": r".*\.log", "use_regex": True}, "a/b/c/z.log a/b/y.log"),
        ({"age": "2d"}, "a/x.txt"),
        ({"age": "-2d", "excludes": "in"}, "a/b/c/z.log a/b/y.log"),
        ({"size": "4k"}, "a/b/c/z.log"),
        ({"size": "5000"}, "a/b/c/z.log"),
        ({"size": "-4k", "file_type": "any"}, ".h/in a a/b a/b/c a/b/y.log a/x.txt la"),
        ({"contains": "wally"}, "a/b/y.log"),
        ({"contains": "^x\nwally", "read_whole_file": True}, "a/b/y.log"),
        ({"mode": "u=rw"}, "a/b/y.log"),
        ({"mode": "0040", "exact_mode": False}, ".h/in a/b/c/z.log a/x.txt"),
    ],
)
def test_find(apply: Any, tree: Path, arguments: Any, names: str) -> None:
    found = apply("find", paths=str(tree), **{"recurse": True, **arguments})
    paths = sorted(str(Path(f["path"]).relative_to(tree)) for f in found["files"])
    assert paths == names.split()
    assert found["matched"] == len(paths) and found["msg"] == "All paths examined"


def test_find_tells_what_it_found(apply: Any, tree: Path) -> None:
    found = apply("find", paths=[str(tree / "a")], get_checksum=True, check=True)
    (entry,) = found["files"]
    assert entry["checksum"] == hashlib.sha1(b"hello\n").hexdigest()
    assert entry["size"] == 6 and entry["isreg"] and "exists" not in entry
    assert found["examined"] == 2 and not found["changed"]
    enough = apply("find", paths=str(tree), recurse=True, limit=1)
    assert enough["matched"] == 1 and enough["msg"] == "Limit of matches reached"


def test_find_warns_of_what_it_cannot_search(apply: Any, tree: Path) -> None:
    missing = str(tree / "no")
    found = apply("find", paths=[missing, str(tree / "a")])
    assert found["matched"] == 1 and found["msg"].startswith("Not all paths examined")
    assert found["skipped_paths"] == {missing: f"'{missing}' is not a directory"}
    (tree / "a/bin").write_bytes(b"\xff")
    assert "encoding" in apply("find", paths=str(tree / "a"), contains="x")["warnings"][0]
    for arguments in ({"age": "x"}, {"size": "9q"}, {"limit": 0}):
        with pytest.raises(ModuleFailed):
            apply("find", paths=str(tree), **arguments)


def test_raw(apply: Any) -> None:
    done = apply("raw", cmd="echo $((1+1)); echo; echo e >&2")
    assert done["changed"] and done["stdout"] == "2\n\n" and done["stdout_lines"] == ["2", ""]
    assert done["stderr_lines"] == ["e"] and done["rc"] == 0
    bash = apply("raw", cmd="echo ${BASH##*/}", executable="/bin/bash")
    assert bash["stdout"] == "bash\n"
    assert apply("raw", cmd="exit 3", check=True)["skipped"]
    with pytest.raises(ModuleFailed, match="non-zero return code") as failure:
        apply("raw", cmd="echo no; exit 3")
    assert failure.value.extra["rc"] == 3 and failure.value.extra["changed"]


@pytest.fixture
def scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder for temporary files, to see that nothing is left in it."""
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    return folder


def test_script(apply: Any, tmp_path: Path, scratch: Path) -> None:
    script = {"content": SCRIPT, "_original_basename": "hi.sh"}
    done = apply("script", **script, args='0 "a  b" $((1+1))')
    name, words = done["stdout_lines"]
    assert Path(name).name == "hi.sh" and words == "0 a  b 2" and done["stderr"] == "e\n"
    assert apply("script", **script, args=["0", "$x", "a  b"])["stdout_lines"][1] == "0 $x a  b"
    with pytest.raises(ModuleFailed, match="non-zero return code") as failure:
        apply("script", **script, args="3")
    assert failure.value.extra["rc"] == 3 and failure.value.extra["changed"]
    python = apply("script", content="import os; print(os.getcwd())", executable="python3 -I")
    assert python["rc"] == 0
    there = apply("script", content="pwd; stat -c %a $(dirname $0) $0", chdir=str(tmp_path))
    assert there["stdout_lines"] == [str(tmp_path), "700", "700"]
    assert not list(scratch.iterdir())


def test_script_of_a_blob(tmp_path: Path, apply: Any, scratch: Path) -> None:
    (tmp_path / "blob").write_text("echo sent\n")
    context = Context(blob=lambda sha256: tmp_path / "blob")
    assert apply("script", sha256="ab" * 32, context=context)["stdout"] == "sent\n"


def test_script_that_needs_not_run(apply: Any, tmp_path: Path, scratch: Path) -> None:
    here, nowhere = str(tmp_path), str(tmp_path / "no")
    script = {"content": f"touch {nowhere}"}
    assert apply("script", **script, creates=here)["skipped"]
    assert apply("script", **script, removes=nowhere)["skipped"]
    assert apply("script", **script, check=True)["skipped"]
    assert apply("script", **script, creates=nowhere, check=True) == {"changed": True}
    with pytest.raises(ModuleFailed, match="absolute path"):
        apply("script", **script, chdir="relative")
    assert not os.path.exists(nowhere)
    assert apply("script", **script, creates=nowhere)["changed"] and os.path.exists(nowhere)


def test_fetch(apply: Any, tmp_path: Path) -> None:
    data = os.urandom(fetch.CHUNK + 1)
    path = tmp_path / "f"
    path.write_bytes(data)
    got = apply("fetch", src=str(path), dest="anywhere/")
    assert len(got["content"]) == 2 and got["size"] == len(data)
    assert b"".join(map(base64.b64decode, got["content"])) == data
    assert base64.b64decode("".join(got["content"])) == data
    assert got["checksum"] == hashlib.sha1(data).hexdigest()
    assert got["sha256"] == hashlib.sha256(data).hexdigest()
    assert apply("fetch", src=str(path), check=True)["skipped"]
    with open(path, "wb") as file:
        file.truncate(fetch.LIMIT + 1)
    with pytest.raises(ModuleFailed, match="larger than 8 MiB"):
        apply("fetch", src=str(path), fail_on_missing=False)


def test_fetch_of_what_is_not_there(apply: Any, tmp_path: Path) -> None:
    with pytest.raises(ModuleFailed, match="does not exist"):
        apply("fetch", src=str(tmp_path / "no"))
    with pytest.raises(ModuleFailed, match="is a directory"):
        apply("fetch", src=str(tmp_path))
    ignored = apply("fetch", src=str(tmp_path / "no"), fail_on_missing=False)
    assert "ignored" in ignored["msg"] and "content" not in ignored and not ignored["changed"]


def test_setup(apply: Any) -> None:
    every = apply("setup", gather_subset="!all,network")["ansible_facts"]
    assert every["ansible_kernel"] == os.uname().release and "ansible_memtotal_mb" in every
    some = apply("setup", filter=["kernel", "ansible_os_*"], check=True)["ansible_facts"]
    assert set(some) == {"ansible_kernel", "ansible_os_family"}
