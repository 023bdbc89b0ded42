"""sysctl, modprobe, mount, cron and apt's sources, as far as they are files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import aptget, fstab, process
from provisioner.remote.module import ModuleFailed
from provisioner.remote.modules import apt_repository, deb822_repository, modprobe

Snapshot = Callable[[Path], dict[str, Any]]


def thrice(apply: Any, snapshot: Snapshot, folder: Path, module: str, **arguments: Any) -> Any:
    """Foresee, do, and do again: the result of the second. All three must fit together."""
    before = snapshot(folder)
    foreseen = apply(module, check=True, diff=True, **arguments)
    assert foreseen["changed"] and snapshot(folder) == before
    done = apply(module, diff=True, **arguments)
    assert done["changed"] and done.get("diff") == foreseen.get("diff")
    after = snapshot(folder)
    assert not apply(module, **arguments)["changed"] and snapshot(folder) == after
    return done


# -- sysctl


def test_sysctl_file(apply: Any, tmp_path: Path, snapshot: Snapshot) -> None:
    path = tmp_path / "x.conf"
    path.write_text("# mine\nb = 2\nkernel.x=1\n;c\nb=3\nno equal sign")
    arguments = {"sysctl_file": str(path), "reload": False}
    assert not apply("sysctl", name="kernel.x", value="yes", **arguments)["changed"]
    thrice(apply, snapshot, tmp_path, "sysctl", name="kernel.x", value=7, **arguments)
    assert path.read_text() == "# mine\nb=2\nkernel.x=7\n;c\nno equal sign\n"
    thrice(apply, snapshot, tmp_path, "sysctl", name="kernel.y", value="1 2", **arguments)
    assert path.read_text().endswith("\nkernel.y=1 2\n")
    thrice(apply, snapshot, tmp_path, "sysctl", name="kernel.x", state="absent", **arguments)
    assert "kernel.x" not in path.read_text()


def test_sysctl_sees_the_kernel(apply: Any, tmp_path: Path) -> None:
    path = tmp_path / "x.conf"
    right = Path("/proc/sys/net/core/somaxconn").read_text().strip()
    path.write_text(f"net.core.somaxconn = {right}\n")
    name = {"name": "net.core.somaxconn", "sysctl_file": str(path)}
    assert not apply("sysctl", value=right, check=True, **name)["changed"]
    path.write_text("net.core.somaxconn = 17\n")
    assert not apply("sysctl", value="17", check=True, reload=False, **name)["changed"]
    assert apply("sysctl", value="17", check=True, **name)["changed"]
    assert apply("sysctl", value="17", check=True, reload=False, sysctl_set=True, **name)["changed"]


def test_sysctl_arguments(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="missing: value"):
        apply("sysctl", name="kernel.x")
    with pytest.raises(ModuleFailed, match="blank"):
        apply("sysctl", name=" ", value="1")


# -- modprobe


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> set[str]:
    """The modules that a pretended kernel has loaded; `modprobe` is a pretence too."""
    loaded = {"other"}
    proc, built_in = tmp_path / "proc", tmp_path / "built_in"

    def pretend(argv: Any, **options: Any) -> process.Outcome:
        words = [word for word in argv[1:] if not word.startswith("-") and "=" not in word]
        if words[0] == "refused":
            return process.Outcome(1, "", "FATAL: Module refused not found\n", 0.0)
        if "-n" not in argv and "-r" in argv:
            loaded.discard(words[0])
        elif "-n" not in argv:
            loaded.add(words[0])
        if "-n" not in argv:
            proc.write_text("".join(f"{name} 1 0 - Live\n" for name in loaded))
        return process.Outcome(0, "", "", 0.0)

    proc.write_text("other 1 0 - Live\n")
    built_in.write_text("kernel/net/builtin.ko\n")
    monkeypatch.setattr(process, "run", pretend)
    for name, value in (("PROC_MODULES", proc), ("BUILT_IN", built_in)):
        monkeypatch.setattr(modprobe, name, value)
    for name, folder in (("LOADED_AT_BOOT", "load.d"), ("OPTIONS", "modprobe.d")):
        (tmp_path / folder).mkdir()
        monkeypatch.setattr(modprobe, name, tmp_path / folder)
    return loaded


def test_modprobe_now(apply: Any, kernel: set[str], tmp_path: Path, snapshot: Snapshot) -> None:
    done = thrice(apply, snapshot, tmp_path, "modprobe", name="dummy", params="n=2")
    assert kernel == {"other", "dummy"}
    assert (done["name"], done["params"], done["state"]) == ("dummy", "n=2", "present")
    thrice(apply, snapshot, tmp_path, "modprobe", name="dummy", state="absent")
    assert kernel == {"other"}
    assert not apply("modprobe", name="builtin")["changed"]
    for check in (False, True):
        with pytest.raises(ModuleFailed, match="not found"):
            apply("modprobe", name="refused", check=check)


def test_modprobe_at_boot(apply: Any, kernel: set[str], tmp_path: Path, snapshot: Snapshot) -> None:
    load, options = tmp_path / "load.d", tmp_path / "modprobe.d"
    (options / "old.conf").write_text("options other n=1\noptions another n=1\n")
    arguments = {"name": "other", "params": "n=2 m=3", "persistent": "present"}
    thrice(apply, snapshot, tmp_path, "modprobe", **arguments)
    assert (load / "other.conf").read_text() == "other\n"
    assert (options / "other.conf").read_text() == "options other n=2\noptions other m=3\n"
    assert (options / "old.conf").read_text() == "#options other n=1\noptions another n=1\n"
    thrice(apply, snapshot, tmp_path, "modprobe", name="other", persistent="absent")
    assert (load / "other.conf").read_text() == "#other\n"
    assert (options / "other.conf").read_text() == "#options other n=2\n#options other m=3\n"


# -- mount


def test_fstab(apply: Any, tmp_path: Path, snapshot: Snapshot) -> None:
    table = tmp_path / "fstab"
    table.write_text("# all\nUUID=1 / ext4 defaults 0 1\n/dev/b /b ext4 ro")
    data = {"path": "/mnt/a b", "src": "LABEL=x", "fstype": "xfs", "fstab": str(table)}
    made = thrice(apply, snapshot, tmp_path, "mount", state="present", opts="noatime", **data)
    assert made["name"] == "/mnt/a b" and made["opts"] == "noatime" and made["boot"] == "yes"
    lines = table.read_text().splitlines()
    assert lines[:2] == ["# all", "UUID=1 / ext4 defaults 0 1"]
    assert lines[2:] == ["/dev/b /b ext4 ro", "LABEL=x /mnt/a\\040b xfs noatime 0 0"]
    off = thrice(
        apply, snapshot, tmp_path, "mount", state="present", boot=False, passno=2, backup=True,
        **data,
    )  # fmt: skip
    assert table.read_text().endswith("LABEL=x /mnt/a\\040b xfs defaults,noauto 0 2\n")
    assert "noatime" in Path(off["backup_file"]).read_text()
    thrice(apply, snapshot, tmp_path, "mount", path="/mnt/a b", state="absent_from_fstab",
           fstab=str(table))  # fmt: skip
    assert table.read_text().splitlines() == lines[:3]


def test_swap_is_known_by_its_device(apply: Any, tmp_path: Path) -> None:
    table = tmp_path / "new" / "fstab"
    swap = {"path": "none", "fstype": "swap", "opts": "sw", "fstab": str(table)}
    for source in ("/swap1", "/swap2"):
        assert apply("mount", src=source, state="present", **swap)["changed"]
        assert not apply("mount", src=source, state="present", **swap)["changed"]
    assert apply("mount", src="/swap1", state="absent_from_fstab", **swap)["changed"]
    assert table.read_text() == "/swap2 none swap sw 0 0\n"


def test_what_is_mounted_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = tmp_path / "mountinfo"
    table.write_text(
        "21 1 8:1 / / rw shared:1 - ext4 /dev/sda1 rw\n"
        "30 21 0:5 / /mnt rw - tmpfs tmpfs rw\n"
        "31 30 8:1 /srv/a\\040b /mnt/in rw shared:1 - ext4 /dev/sda1 rw\n"
        "32 21 8:2 / /data rw - ext4 /dev/sdb rw\n"
        "33 21 8:2 /deep/er /data2 rw - ext4 /dev/sdb rw\n"
    )
    monkeypatch.setattr(fstab, "MOUNTED", str(table))
    assert fstab.sources("/mnt") == {"tmpfs"}
    assert fstab.sources("/mnt/in") == {"/dev/sda1", "/srv/a b"}
    assert fstab.sources("/data2") == {"/dev/sdb", "/data/deep/er"}
    assert fstab.sources("/srv") == set()


def test_mount_arguments(apply: Any) -> None:
    with pytest.raises(ModuleFailed, match="missing: src, fstype"):
        apply("mount", path="/x", state="mounted")


# -- cron


def test_cron_file(apply: Any, tmp_path: Path, snapshot: Snapshot) -> None:
    table = tmp_path / "jobs"
    place = {"cron_file": str(table), "user": "root"}
    made = thrice(apply, snapshot, tmp_path, "cron", name="a", job="id\n", minute=5, **place)
    assert made["jobs"] == ["a"] and made["envs"] == []
    assert table.read_text() == "#Ansible: a\n5 * * * * root id\n"
    assert table.stat().st_mode & 0o777 == 0o644
    thrice(apply, snapshot, tmp_path, "cron", name="b", job="date", special_time="daily", **place)
    thrice(apply, snapshot, tmp_path, "cron", name="a", job="id", disabled=True, **place)
    thrice(apply, snapshot, tmp_path, "cron", name="MAILTO", value="x@y", env=True, **place)
    thrice(
        apply, snapshot, tmp_path, "cron",
        name="TERM", value="dumb", env=True, insertafter="MAILTO", **place,
    )  # fmt: skip
    assert table.read_text().splitlines() == [
        'MAILTO="x@y"',
        'TERM="dumb"',
        "#Ansible: a",
        "#* * * * * root id",
        "#Ansible: b",
        "@daily root date",
    ]
    thrice(apply, snapshot, tmp_path, "cron", name="MAILTO", state="absent", env=True, **place)
    thrice(apply, snapshot, tmp_path, "cron", name="TERM", state="absent", env=True, **place)
    thrice(apply, snapshot, tmp_path, "cron", name="a", state="absent", **place)
    gone = thrice(apply, snapshot, tmp_path, "cron", name="b", state="absent", **place)
    assert gone["state"] == "absent" and not table.exists()


def test_a_line_that_is_there_becomes_ours(apply: Any, tmp_path: Path) -> None:
    table = tmp_path / "jobs"
    table.write_text("1 * * * * root id\n2 * * * * root id")
    arguments = {"cron_file": str(table), "user": "root", "job": "id", "name": "n"}
    assert apply("cron", minute=2, backup=True, **arguments)["changed"]
    assert table.read_text() == "1 * * * * root id\n#Ansible: n\n2 * * * * root id\n"
    assert not apply("cron", minute=2, **arguments)["changed"]


def test_a_missing_end_of_line_is_mended(apply: Any, tmp_path: Path) -> None:
    table = tmp_path / "jobs"
    table.write_text("#Ansible: n\n1 * * * * root id")
    assert apply("cron", name="other", cron_file=str(table), state="absent")["changed"]
    assert table.read_text().endswith("id\n")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({"job": "x", "special_time": "daily", "hour": 3}, "cannot combine special_time"),
        ({"job": "x", "cron_file": "f"}, "you must specify user"),
        ({"user": "root"}, "must specify 'job'"),
        ({"job": "x", "insertafter": "Y"}, "only with env=yes"),
        ({"job": "x", "cron_file": "/etc/crontab", "user": "root"}, "Will not manage"),
        ({"name": "a b", "job": "x", "env": True}, "Invalid name"),
    ],
)
def test_cron_arguments(apply: Any, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ModuleFailed, match=complaint):
        apply("cron", **{"name": "n", **arguments})


# -- apt's sources


@pytest.fixture
def sources(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder in place of /etc/apt."""
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    monkeypatch.setattr(apt_repository, "LIST", tmp_path / "sources.list")
    monkeypatch.setattr(apt_repository, "PARTS", parts)
    monkeypatch.setattr(deb822_repository, "SOURCES", parts)
    monkeypatch.setattr(deb822_repository, "KEYRINGS", tmp_path / "keyrings")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    return parts


def test_apt_repository(apply: Any, sources: Path, snapshot: Snapshot) -> None:
    root = sources.parent
    quiet = {"update_cache": False}
    line = "deb [signed-by=/k.asc] https://me:pw@example.org/debian  stable   main"
    made = thrice(apply, snapshot, root, "apt_repository", repo=line, mode="0640", **quiet)
    path = sources / "example_org_debian.list"
    assert made["sources_added"] == [str(path)] and made["sources_removed"] == []
    assert path.read_text() == f"{' '.join(line.split())}\n"
    assert path.stat().st_mode & 0o777 == 0o640
    thrice(apply, snapshot, root, "apt_repository", repo="deb http://x a", filename="y", **quiet)
    assert (sources / "y.list").exists()
    gone = thrice(apply, snapshot, root, "apt_repository", repo=line, state="absent", **quiet)
    assert gone["sources_removed"] == [str(path)] and not path.exists()


def test_a_disabled_source_is_enabled_where_it_is(apply: Any, sources: Path) -> None:
    path = sources.parent / "sources.list"
    path.write_text("# words\n# deb http://x a b # why\ndeb http://y a\n")
    assert apply("apt_repository", repo="deb http://x a b", update_cache=False)["changed"]
    assert path.read_text() == "# words\ndeb http://x a b # why\ndeb http://y a\n"
    assert list(sources.iterdir()) == []


def test_a_source_that_cannot_be_read_is_taken_back(
    apply: Any, sources: Path, snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Any, retries: int, max_delay: int) -> None:
        raise ModuleFailed("Failed to update apt cache")

    monkeypatch.setattr(aptget.AptGet, "update", fail)
    (sources.parent / "sources.list").write_text("deb http://y a\n")
    before = {path: content for path, (*_, content) in snapshot(sources.parent).items()}
    with pytest.raises(ModuleFailed, match="Failed to update"):
        apply("apt_repository", repo="deb http://x a b")
    assert before == {path: content for path, (*_, content) in snapshot(sources.parent).items()}


def test_apt_repository_arguments(apply: Any, sources: Path) -> None:
    for bad in ("nonsense", "# deb http://x a"):
        with pytest.raises(ModuleFailed, match="Invalid repository string"):
            apply("apt_repository", repo=bad)
    with pytest.raises(ModuleFailed, match="not supported"):
        apply("apt_repository", repo="ppa:a/b")


def test_deb822(apply: Any, sources: Path, snapshot: Snapshot, tmp_path: Path) -> None:
    key = tmp_path / "served.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nabc\n")
    arguments = {
        "name": "My Repo_x!",
        "uris": "https://example.org/debian",
        "suites": ["stable", "stable-updates"],
        "components": "main",
        "by_hash": False,
        "date_max_future": 3,
        "signed_by": key.as_uri(),
    }
    made = thrice(apply, snapshot, tmp_path, "deb822_repository", **arguments)
    path = sources / "my-repo-x.sources"
    assert made["dest"] == str(path) and made["repo"] == path.read_text()
    stored = tmp_path / "keyrings" / "my-repo-x.asc"
    assert made["key_filename"] == str(stored) and stored.read_text() == key.read_text()
    assert path.read_text() == (
        "By-Hash: no\n"
        "Components: main\n"
        "Date-Max-Future: 3\n"
        "X-Repolib-Name: My Repo_x!\n"
        f"Signed-By: {stored}\n"
        "Suites: stable stable-updates\n"
        "Types: deb\n"
        "URIs: https://example.org/debian\n"
    )
    thrice(apply, snapshot, tmp_path, "deb822_repository", **arguments, mode="0600")
    key.write_bytes(b"binary")
    thrice(apply, snapshot, tmp_path, "deb822_repository", **arguments, mode="0600")
    assert (tmp_path / "keyrings" / "my-repo-x.gpg").read_bytes() == b"binary"
    gone = {"name": "My Repo_x!", "state": "absent"}
    thrice(apply, snapshot, tmp_path, "deb822_repository", **gone)
    assert not path.exists() and os.listdir(tmp_path / "keyrings") == []


def test_a_key_within_the_source(apply: Any, sources: Path) -> None:
    key = "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n  abc\n-----END PGP PUBLIC KEY BLOCK-----\n"
    made = apply("deb822_repository", name="k", uris="http://x", suites="./", signed_by=key)
    assert made["key_filename"] is None
    assert (
        "Signed-By:\n    -----BEGIN PGP PUBLIC KEY BLOCK-----\n    .\n    abc\n    -----END"
        in made["repo"]
    )
    with pytest.raises(ModuleFailed, match="Could not fetch signed_by key"):
        apply("deb822_repository", name="k", signed_by="file:///no/such/key")
    with pytest.raises(ModuleFailed, match="types is 'src'"):
        apply("deb822_repository", name="k", types="deb,src")
