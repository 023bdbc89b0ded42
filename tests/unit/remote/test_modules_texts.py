"""blockinfile, known_hosts, getent and the facts."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from provisioner.remote import facts
from provisioner.remote.module import ModuleFailed

ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKDVgqsVRD03BJMGypMvTWncjWkMqX1xlh6qUISYhPRd"
OTHER = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIDVgqsVRD03BJMGypMvTWncjWkMqX1xlh6qUISYhPRe"


def test_block(apply: Any, tmp_path: Path, snapshot: Any) -> None:
    path = tmp_path / "f"
    path.write_text("one\ntwo\n")
    arguments = {"path": str(path), "block": "a\nb", "marker": "; {mark} ours"}
    before = snapshot(tmp_path)
    foreseen = apply("blockinfile", **arguments, insertafter="one", check=True, diff=True)
    assert foreseen["changed"] and snapshot(tmp_path) == before
    text = "one\n; BEGIN ours\na\nb\n; END ours\ntwo\n"
    assert foreseen["diff"]["after"] == text
    assert apply("blockinfile", **arguments, insertafter="one")["changed"]
    assert path.read_text() == text
    assert not apply("blockinfile", **arguments, insertafter="one")["changed"]
    assert apply("blockinfile", **{**arguments, "block": "c"})["changed"]
    assert path.read_text() == "one\n; BEGIN ours\nc\n; END ours\ntwo\n"
    assert apply("blockinfile", **arguments, state="absent")["msg"] == "Block removed"
    assert path.read_text() == "one\ntwo\n"
    assert not apply("blockinfile", **arguments, state="absent")["changed"]
    with pytest.raises(ModuleFailed, match="does not exist"):
        apply("blockinfile", path=str(tmp_path / "no"), block="x")
    created = apply("blockinfile", path=str(tmp_path / "new"), block="x", create=True)
    assert created["msg"] == "File created"


def test_known_hosts(apply: Any, tmp_path: Path) -> None:
    path = tmp_path / "ssh/known_hosts"
    arguments = {"name": "h.example", "path": str(path)}
    key = f"h.example {ED25519}"
    assert apply("known_hosts", **arguments, key=key, check=True)["changed"] and not path.exists()
    assert apply("known_hosts", **arguments, key=key)["changed"]
    assert not apply("known_hosts", **arguments, key=key)["changed"]
    path.write_text(path.read_text() + f"other.example {OTHER}\n")
    assert apply("known_hosts", **arguments, key=f"h.example {OTHER}")["changed"]
    assert path.read_text() == f"other.example {OTHER}\nh.example {OTHER}\n"
    assert apply("known_hosts", **arguments, state="absent")["changed"]
    assert path.read_text() == f"other.example {OTHER}\n"
    with pytest.raises(ModuleFailed, match="not for"):
        apply("known_hosts", **arguments, key=f"third.example {ED25519}")


def test_hashed_names_are_those_of_ssh_keygen(apply: Any, tmp_path: Path) -> None:
    path = tmp_path / "known_hosts"
    arguments = {"name": "h.example", "path": str(path), "key": f"h.example {ED25519}"}
    assert apply("known_hosts", **arguments, hash_host=True)["changed"]
    assert "h.example" not in path.read_text()
    found = subprocess.run(["ssh-keygen", "-F", "h.example", "-f", str(path)], capture_output=True)
    assert found.returncode == 0
    assert not apply("known_hosts", **arguments, hash_host=True)["changed"]


def test_getent(apply: Any) -> None:
    found = apply("getent", database="passwd", key="root")["ansible_facts"]["getent_passwd"]
    assert found["root"][1] == "0"
    with pytest.raises(ModuleFailed, match="could not be found"):
        apply("getent", database="passwd", key="no-such-user")
    assert apply("getent", database="passwd", key="no-such-user", fail_key=False)


def test_facts() -> None:
    facts.gather()
    started = time.perf_counter()
    found = facts.gather()
    assert time.perf_counter() - started < 0.2, "0.05 on a machine with nothing else to do"
    assert found["ansible_kernel"] == os.uname().release
    assert found["ansible_processor_vcpus"] >= 1 and found["ansible_memtotal_mb"] > 0
    assert found["ansible_mounts"][0]["size_total"] > found["ansible_mounts"][0]["size_available"]
    assert set(found["ansible_env"]) <= set(facts.ENVIRONMENT)
    assert abs(int(found["ansible_date_time"]["epoch"]) - time.time()) < 5


def test_os_release(tmp_path: Path) -> None:
    path = tmp_path / "os-release"
    path.write_text("ID=ubuntu\nVERSION_ID=\"22.04\"\nNAME='Ubuntu'\n# comment\n")
    assert facts.os_release(str(path)) == {"ID": "ubuntu", "VERSION_ID": "22.04", "NAME": "Ubuntu"}
