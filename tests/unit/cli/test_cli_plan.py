"""Plans made and carried out, on this machine itself."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "hunter2-is-the-password"
EXTRA = "an-extra-secret"


@pytest.fixture
def secretive(folder, monkeypatch) -> None:
    """An inventory with a secret in it."""
    monkeypatch.setenv("THE_SECRET", PASSWORD)
    text = "defaults: {artifacts: {lock: own.lock}}\n"
    text += "hosts:\n  localhost: {pool: cpu, vars: {word: !env THE_SECRET}}\n"
    (folder / "own.lock").write_text("artifacts: []\n")
    (folder / "inventory.yaml").write_text(text)


@pytest.fixture
def steps(folder, secretive, playbook) -> str:
    """A playbook that writes two files, one of them secret."""
    (folder / "templates").mkdir()
    (folder / "templates" / "x.j2").write_text("x={{ word }} {{ door | default('shut') }}\n")
    return str(
        playbook(
            f"    - template: {{src: x.j2, dest: {folder}/out, mode: '0600'}}\n"
            f"    - copy: {{content: '{{{{ item }}}}', dest: '{folder}/{{{{ item }}}}'}}\n"
            "      loop: [a, b]\n"
            "    - command: 'true'\n"
        )
    )


@pytest.fixture
def plan(b9prov, steps, folder) -> Any:
    """Makes a plan of it in `p.plan`."""
    return lambda *words: b9prov("plan", "-o", "p.plan", "--playbook", steps, *words)


def test_a_plan_is_shown_and_saved_and_carried_out(b9prov, plan, folder) -> None:
    made = plan()
    assert made.returncode == 0, made.stderr
    assert f"+++ {folder}/out (after)" in made.stdout and "+x=******** shut" in made.stdout
    assert "b9prov apply p.plan" in made.stderr
    assert (folder / "p.plan").stat().st_mode & 0o777 == 0o600
    assert not (folder / "out").exists()
    done = b9prov("apply", "p.plan", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["hosts"]["localhost"]["changed"] == 3
    assert (folder / "out").read_text() == f"x={PASSWORD} shut\n"
    assert (folder / "b").read_text() == "b"


def test_no_secret_is_in_the_file(plan, folder) -> None:
    (folder / "out").write_text("x=the-password-before\n")
    made = plan("-e", f"door={EXTRA}", "--pool", "gpu")
    assert made.returncode == 0
    text = (folder / "p.plan").read_text()
    for secret in (PASSWORD, EXTRA, "the-password-before"):
        assert secret not in text
        assert secret.encode().hex() not in text
    assert "door=…" in json.loads(text)["request"]["variables"]


def test_what_a_plan_has(plan, folder) -> None:
    plan()
    content = json.loads((folder / "p.plan").read_text())
    assert content["b9prov_plan"] == 1
    assert set(content["digests"]) == {"b9prov", "playbook", "inventory", "variables"}
    host = content["hosts"]["localhost"]
    assert host["facts"]["kernel"] and host["facts"]["python_version"]
    assert not {"date_time", "memfree_mb", "uptime_seconds", "loadavg"} & set(host["facts"])
    assert [(t["task"], t["item"], t["status"]) for t in host["tasks"]] == [
        ("template", None, "changed"),
        ("copy", "a", "changed"),
        ("copy", "b", "changed"),
        ("command", None, "skipped"),
    ]
    diffs = [task["diff"] for task in host["tasks"]]
    assert len(set(diffs)) == 4 and diffs[-1] == ""


def test_detailed_exit_codes(b9prov, plan, folder, playbook) -> None:
    assert plan("--detailed-exitcode").returncode == 2
    b9prov("apply", "p.plan")
    assert plan("--detailed-exitcode").returncode == 0
    assert plan("--detailed-exitcode", "--limit", "nobody").returncode == 1
    assert plan("--limit", "nobody").returncode == 2
    bad = str(playbook("    - fail: {msg: no}\n", "bad.yaml"))
    words = ("plan", "-o", "bad.plan", "--playbook", bad)
    assert b9prov(*words, "--detailed-exitcode").returncode == 1
    done = b9prov(*words)
    assert done.returncode == 1 and "no plan is saved" in done.stderr
    assert not (folder / "bad.plan").exists()


def test_values_of_extra_variables_have_to_be_given_again(b9prov, plan, folder) -> None:
    plan("-e", f"door={EXTRA}")
    none = b9prov("apply", "p.plan")
    assert (none.returncode, none.stdout) == (2, "") and "-e 'door=…'" in none.stderr
    other = b9prov("apply", "p.plan", "-e", "door=another")
    assert other.returncode == 2
    assert "extra variables" in other.stderr and "inventory" not in other.stderr
    done = b9prov("apply", "p.plan", "-e", f"door={EXTRA}")
    assert done.returncode == 0
    assert (folder / "out").read_text() == f"x={PASSWORD} {EXTRA}\n"


def test_files_of_variables_are_found_again(b9prov, plan, folder) -> None:
    (folder / "v.yaml").write_text(f"door: {EXTRA}\n")
    plan("-e", "@v.yaml")
    assert EXTRA not in (folder / "p.plan").read_text()
    assert b9prov("apply", "p.plan").returncode == 0
    assert EXTRA in (folder / "out").read_text()


@pytest.mark.parametrize("changed", ["inventory", "playbook", "template", "secret", "lock"])
def test_other_input_is_refused(b9prov, plan, steps, folder, monkeypatch, changed: str) -> None:
    plan()
    if changed == "inventory":
        path = folder / "inventory.yaml"
        path.write_text(path.read_text().replace("cpu", "gpu"))
    if changed == "playbook":
        Path(steps).write_text(Path(steps).read_text() + "# more\n")
    if changed == "template":
        (folder / "templates" / "x.j2").write_text("other\n")
    if changed == "lock":
        (folder / "own.lock").write_text("# another\nartifacts: []\n")
    if changed == "secret":
        monkeypatch.setenv("THE_SECRET", "another-password")
    done = b9prov("apply", "p.plan")
    assert (done.returncode, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    said = {"template": "playbook", "secret": "inventory", "lock": "inventory"}.get(
        changed, changed
    )
    assert f"not as planned: the {said}" in line and " and " not in line
    assert not (folder / "out").exists()


def test_a_host_that_drifted_is_refused(b9prov, plan, folder) -> None:
    plan()
    (folder / "out").write_text("somebody was here\n")
    done = b9prov("apply", "p.plan")
    assert (done.returncode, done.stdout) == (1, "")
    assert "localhost is not as planned: task 'template' would change something else" in done.stderr
    assert not (folder / "a").exists()
    (folder / "out").unlink()
    (folder / "a").write_text("a")
    done = b9prov("apply", "p.plan")
    assert done.returncode == 1 and "task 'copy [a]'" in done.stderr
    assert (folder / "a").read_text() == "a" and not (folder / "b").exists()


def test_facts_that_differ_are_refused(b9prov, plan, folder) -> None:
    plan()
    path = folder / "p.plan"
    content = json.loads(path.read_text())
    content["hosts"]["localhost"]["facts"]["kernel"] = "2.4.1"
    path.write_text(json.dumps(content))
    done = b9prov("apply", "p.plan")
    assert done.returncode == 1 and "kernel is" in done.stderr and "'2.4.1'" in done.stderr
    assert not (folder / "out").exists()


def test_hosts_that_cannot_be_reached_are_not_in_the_plan(
    b9prov, steps, folder, listener: socket.socket
) -> None:
    port = listener.getsockname()[1]
    listener.close()
    path = folder / "inventory.yaml"
    gone = f"  gone: {{address: 127.0.0.1, port: {port}, user: a, vars: {{word: x}}}}\n"
    path.write_text(path.read_text() + gone)
    made = b9prov("plan", "-o", "p.plan", "--playbook", steps)
    assert made.returncode == 1
    assert list(json.loads((folder / "p.plan").read_text())["hosts"]) == ["localhost"]
    done = b9prov("apply", "p.plan", "--output", "json")
    assert done.returncode == 0, done.stderr
    assert list(json.loads(done.stdout.splitlines()[-1])["hosts"]) == ["localhost"]


def test_wrong_words(b9prov, plan, folder) -> None:
    plan()
    for words in (
        ("apply", "none.plan"),
        ("apply", "inventory.yaml"),
        ("apply",),
        ("plan",),
        ("plan", "-o", "no/such/folder/p.plan"),
        ("plan", "-o", "."),
        ("plan", "-o", "p.plan", "--executor", "dask://x:1"),
        ("plan", "-o", "p.plan", "--resume"),
    ):
        done = b9prov(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert len(done.stderr.splitlines()) == 1, done.stderr


def test_a_plan_from_another_folder(b9prov, plan, folder, monkeypatch, tmp_path) -> None:
    plan()
    monkeypatch.chdir(tmp_path)
    assert b9prov("apply", str(folder / "p.plan")).returncode == 0
    assert (folder / "out").exists()


def test_the_runs_of_a_plan_are_on_record(b9prov, plan, folder) -> None:
    plan()
    b9prov("apply", "p.plan")
    shown = json.loads(b9prov("runs", "--output", "json").stdout)["runs"]
    assert [(each["command"].split()[1], each["check"]) for each in shown] == [
        ("apply", False),
        ("apply", True),
        ("plan", True),
    ]
