"""`b9prov audit` and what `b9prov gateway` refuses, without contacting anybody."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

SECRET = "token-3141592653"


def entries(b9prov, *words: str) -> list[dict]:
    done = b9prov("audit", "--output", "json", *words)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["entries"]


def audit_log() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "b9prov" / "audit.jsonl"


def test_what_was_done_is_on_record_without_secrets(b9prov, local, playbook) -> None:
    assert b9prov("audit").stdout == "no entries\n"
    path = playbook("    - ping:\n")
    done = b9prov("play", str(path), "-e", f"token={SECRET}")
    assert done.returncode == 0, done.stderr
    failing = playbook("    - fail: {msg: no}\n", "failing.yaml")
    assert b9prov("play", str(failing), "--check").returncode == 1
    first, second = entries(b9prov)
    assert first["command"] == f"b9prov play {path} -e 'token=…'"
    assert (first["result"], first["exit_code"], first["check"]) == ("well", 0, False)
    assert first["hosts"] == {"localhost": "well"}
    assert first["inventory"] == str(local)
    assert (second["result"], second["check"]) == ("failed", True)
    assert SECRET not in audit_log().read_text()
    assert audit_log().stat().st_mode & 0o777 == 0o600


def test_choosing_by_worker_and_time(b9prov, local, playbook) -> None:
    assert b9prov("play", str(playbook("    - ping:\n"))).returncode == 0
    assert len(entries(b9prov, "--worker", "localhost", "--since", "1h")) == 1
    assert entries(b9prov, "--worker", "w9") == []
    assert entries(b9prov, "--since", "2999-01-01") == []
    shown = b9prov("audit").stdout.splitlines()
    assert shown[0].split() == ["WHEN", "WHERE", "BY", "WHAT", "WORKERS", "RESULT"]
    assert shown[1].endswith("localhost  well")


def test_a_run_that_was_killed_is_told(b9prov, local, playbook) -> None:
    assert b9prov("play", str(playbook("    - ping:\n"))).returncode == 0
    log = audit_log()
    log.write_text(log.read_text().splitlines()[0] + '\n{"event": "ended", "id"')
    (entry,) = entries(b9prov)
    assert (entry["result"], entry["ended"]) == ("died", None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["audit", "--since", "yesterday"], "'yesterday' is no moment"),
        (["gateway", "revoke", "inventory.yaml"], "no worker is named"),
        (["gateway", "rotate-keys", "inventory.yaml"], "no worker is named"),
        (["gateway", "revoke", "nowhere.yaml", "w1"], "no such file: nowhere.yaml"),
        (["gateway", "workers"], "gateway"),
    ],
)
def test_bad_input(b9prov, local, words: list[str], said: str) -> None:
    done = b9prov(*words)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    assert said in done.stderr and "Traceback" not in done.stderr
