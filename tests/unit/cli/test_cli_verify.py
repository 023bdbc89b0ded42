"""`b9prov verify` and the commands for nodes, as far as they go without a worker."""

from __future__ import annotations

import json

from provisioner.cli.verify import _held_to_job, _job

JOB = {
    "metadata": {"uid": "u"},
    "spec": {"template": {"spec": {"containers": [{"image": "busybox"}]}}},
    "status": {"startTime": "2026-01-02T03:04:05Z", "completionTime": "2026-01-02T03:04:08Z"},
}
OWN = """\
    - set_fact: {b9_verify: {machine_id: e13daa82, address: 10.199.0.7, nodes: [node/w1], job: JOB}}
"""


def test_a_job_is_told_by_its_own_clock() -> None:
    assert _job(JOB, ["node/w1"]) == {
        "image": "busybox", "uid": "u", "seconds": 3.0, "nodes": ["w1"],
    }  # fmt: skip
    assert _job({**JOB, "status": {}}, [])["seconds"] is None


def test_without_a_job_none_is_proven() -> None:
    row = {"name": "w1", "ok": True, "job": None}
    assert "no Job was run" in _held_to_job(row)["reason"] and not _held_to_job(row)["ok"]
    for kept in ({**row, "job": {"image": "x"}}, {**row, "ok": False}):
        assert _held_to_job(kept) == kept


def test_what_was_proven(b9prov, local, playbook) -> None:
    own = playbook(OWN.replace("JOB", json.dumps(JOB)), "own/verify.yaml").parent
    done = b9prov("verify", "--playbooks", str(own), "--job", "--output", "json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["hosts"]
    assert (row["ok"], row["machine_id"], row["job"]["nodes"]) == (True, "e13daa82", ["w1"])
    playbook(OWN.replace("JOB", "null"), "own/verify.yaml")
    done = b9prov("verify", "--playbooks", str(own), "--job")
    assert done.returncode == 1 and "no Job was run" in done.stdout
    assert b9prov("verify", "--playbooks", str(own)).returncode == 0


def test_a_host_is_named_once(b9prov, local) -> None:
    done = b9prov("verify", str(local), "localhost", "--limit", "all")
    assert done.returncode == 2 and "HOST and --limit name the same" in done.stderr


def test_a_host_without_k3s_has_no_node(b9prov, folder) -> None:
    (folder / "inventory.yaml").write_text("hosts:\n  localhost: {k3s: {enabled: false}}\n")
    for command in ("cordon", "drain", "uncordon"):
        done = b9prov(command, "inventory.yaml", "localhost")
        assert (done.returncode, done.stdout) == (1, ""), done
        assert "it has no k3s" in done.stderr and "the gateway is not told" not in done.stderr
    joined = "hosts:\n  localhost: {k3s: {mode: join, url: 'https://a:6443', token: t}}\n"
    (folder / "inventory.yaml").write_text(joined)
    done = b9prov("drain", "inventory.yaml", "localhost", "--output", "json")
    (row,) = json.loads(done.stdout)["nodes"]
    assert not row["ok"] and "kubectl drain localhost there" in row["reason"]
