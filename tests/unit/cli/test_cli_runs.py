"""Records of runs, and going on where one left off, on this machine itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

PASSWORD = "hunter2-is-the-password"
STEPS = """\
    - name: write
      copy: {{content: "{{{{ item }}}}", dest: "{folder}/{{{{ item }}}}"}}
      loop: [a, b]
      notify: tell
    - name: count
      shell: echo x >> {folder}/counted
    - name: look
      command: cat {folder}/value
      register: value
    - name: depend
      shell: echo {{{{ value.stdout }}}} >> {folder}/depended
    - name: wait for it
      command: test -e {folder}/go
  handlers:
    - name: tell
      shell: echo told >> {folder}/told
"""


def state() -> Path:
    return Path(os.environ["XDG_STATE_HOME"]) / "b9prov" / "runs"


def ids() -> list[str]:
    return sorted(path.name for path in state().iterdir())


def tasks(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Task (and item) → its status."""
    events = [json.loads(line) for line in done.stdout.splitlines()]
    return {
        each["task"] + (f" {each['item']}" if each["item"] else ""): each["status"]
        for each in events
        if each["event"] == "task_finished"
    }


@pytest.fixture
def steps(folder, local, playbook) -> str:
    """A playbook that fails until there is a file `go`."""
    (folder / "value").write_text("one")
    return str(playbook(STEPS.format(folder=folder)))


@pytest.fixture
def play(b9prov, steps) -> Any:
    """Runs it with JSON lines."""
    return lambda *words, **more: b9prov("play", steps, "--output", "json", *words, **more)


def test_no_runs_yet(b9prov, folder) -> None:
    assert b9prov("runs").stdout == "no runs\n"
    done = b9prov("runs", "show", "last")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there are no runs" in done.stderr


def test_runs_are_listed(b9prov, play, steps) -> None:
    assert play("-e", f"door={PASSWORD}").returncode == 1
    assert play("--check").returncode in (0, 1)
    lines = b9prov("runs").stdout.splitlines()
    assert lines[0].split() == ["ID", "WHEN", "COMMAND", "HOSTS", "RESULT", "SECONDS"]
    assert [line.split()[0] for line in lines[1:]] == ids()[::-1]
    assert f"b9prov play {steps} -e 'door=…'" in lines[2]
    assert "localhost" in lines[2] and "failed" in lines[2]
    assert ", check" in lines[1]
    shown = json.loads(b9prov("runs", "--output", "json").stdout)
    assert shown["schema"] == 1
    assert [each["id"] for each in shown["runs"]] == ids()[::-1]
    assert shown["runs"][1]["exit_code"] == 1
    assert shown["runs"][1]["hosts"]["localhost"]["end"] == "failed"


def test_a_run_is_shown(b9prov, play) -> None:
    play()
    done = b9prov("runs", "show", "last")
    assert done.returncode == 0
    assert "result    failed (1)" in done.stdout
    assert "localhost  failed   wait for it" in done.stdout
    limit = state().parent / "retry" / "try.limit"
    assert f"--limit @{limit}" in done.stdout
    assert f"--resume={ids()[0]}" in done.stdout
    shown = json.loads(b9prov("runs", "show", ids()[0], "--output", "json").stdout)
    assert shown["run"]["id"] == ids()[0]
    assert "wait for it" in shown["logs"]["localhost"]
    one = b9prov("runs", "show", "last", "--host", "localhost")
    assert one.stdout == done.stdout


def test_wrong_names_of_runs(b9prov, play) -> None:
    play()
    for words in (("show", "nonsense"), ("show", "last", "--host", "other"), ("shw",)):
        done = b9prov("runs", *words)
        assert (done.returncode, done.stdout) == (2, "")
        assert len(done.stderr.splitlines()) == 1
    near = ids()[0][:-1] + "!"
    assert f"did you mean {ids()[0]}?" in b9prov("runs", "show", near).stderr


def test_secrets_are_nowhere(b9prov, folder, playbook, monkeypatch) -> None:
    monkeypatch.setenv("THE_SECRET", PASSWORD)
    (folder / "inventory.yaml").write_text(
        "hosts:\n  localhost: {pool: cpu, vars: {word: !env THE_SECRET}}\n"
    )
    text = (
        f"    - copy: {{content: 'x={{{{ word }}}}', dest: {folder}/out}}\n"
        "    - shell: echo {{ word }}; false\n"
    )
    done = b9prov("play", str(playbook(text)), "--diff", "-e", "door=also-a-secret")
    assert done.returncode == 1 and (folder / "out").read_text() == f"x={PASSWORD}"
    kept = "".join(p.read_text() for p in state().rglob("*") if p.is_file())
    shown = b9prov("runs", "show", "last").stdout + b9prov("runs", "--output", "json").stdout
    for text in (kept, shown):
        assert PASSWORD not in text and "also-a-secret" not in text
    assert "********" in kept


def test_an_unwritable_state_folder_is_a_warning(b9prov, local, playbook, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(local))
    fine = b9prov("play", str(playbook("    - command: echo fine\n")))
    assert fine.returncode == 0, fine.stderr
    assert "warning: no journal is kept of this run" in fine.stderr
    failed = b9prov("play", str(playbook("    - command: 'false'\n")))
    assert failed.returncode == 1
    assert "--limit localhost" in failed.stdout


def test_what_is_done_is_left_out(play, folder) -> None:
    assert play().returncode == 1
    first = ids()[0]
    (folder / "go").touch()
    done = play("--resume", "-v")
    assert done.returncode == 0, done.stderr
    assert tasks(done) == {
        "write a": "skipped",
        "write b": "skipped",
        "count": "skipped",
        "look": "changed",
        "depend": "skipped",
        "wait for it": "changed",
        "tell": "changed",
    }
    assert f"done in run {first}" in done.stdout
    assert (folder / "counted").read_text() == "x\n"
    assert (folder / "told").read_text() == "told\n"


def test_a_chain_of_resumed_runs(play, folder) -> None:
    for words in ((), ("--resume",), ("--resume",)):
        assert play(*words).returncode == 1
    (folder / "go").touch()
    assert tasks(play("--resume"))["tell"] == "changed"
    again = tasks(play("--resume"))
    assert again["count"] == again["wait for it"] == "skipped"
    assert "tell" not in again
    assert (folder / "counted").read_text() == "x\n"
    assert (folder / "told").read_text() == "told\n"


def test_what_now_depends_on_another_value_is_done_again(play, folder) -> None:
    play()
    (folder / "value").write_text("two")
    found = tasks(play("--resume"))
    assert found["depend"] == "changed" and found["count"] == "skipped"
    assert (folder / "depended").read_text() == "one\ntwo\n"


def test_a_file_that_is_sent_and_changed_is_sent_again(b9prov, local, folder, playbook) -> None:
    (folder / "src").write_text("one")
    path = str(
        playbook(
            f"    - copy: {{src: \"{{{{ 's' ~ 'rc' }}}}\", dest: {folder}/out}}\n"
            "    - command: 'false'\n"
        )
    )
    b9prov("play", path)
    (folder / "src").write_text("two")
    b9prov("play", path, "--resume")
    assert (folder / "out").read_text() == "two"


@pytest.mark.parametrize("changed", ["playbook", "inventory", "extra variables", "template"])
def test_other_input_is_refused(b9prov, play, steps, local, folder, changed: str) -> None:
    (folder / "templates").mkdir()
    play("-e", "x=1")
    words = ["-e", "x=2" if changed == "extra variables" else "x=1"]
    if changed == "playbook":
        Path(steps).write_text(Path(steps).read_text() + "\n")
    if changed == "inventory":
        local.write_text("hosts:\n  localhost: {pool: gpu}\n")
    if changed == "template":
        (folder / "templates" / "new.j2").touch()
    done = play("--resume", *words)
    assert (done.returncode, done.stdout) == (2, "")
    assert changed in done.stderr and "not as then" in done.stderr
    for other in {"playbook", "inventory", "extra variables"} - {changed}:
        assert other not in done.stderr or (changed, other) == ("template", "playbook")
    assert len(ids()) == 1


def test_what_cannot_be_resumed(b9prov, play, steps, folder) -> None:
    def refused(*words: str) -> str:
        done = play(*words)
        assert (done.returncode, done.stdout) == (2, ""), words
        assert len(done.stderr.splitlines()) == 1
        return done.stderr

    assert "no run of this playbook" in refused("--resume")
    play("--check")
    assert "no run of this playbook" in refused("--resume")
    assert "in check mode" in refused(f"--resume={ids()[0]}")
    play()
    assert "leave out --resume" in refused("--check", "--resume")
    assert "no run is called" in refused("--resume=zzz")
    done = b9prov("play", "--resume", steps, steps)
    assert done.returncode == 2 and "put --resume behind" in done.stderr


def test_hosts_that_another_run_touched_are_done_anew(b9prov, play, playbook, folder) -> None:
    play()
    undo = str(playbook(f"    - command: rm {folder}/a {folder}/b\n", "undo.yaml"))
    assert b9prov("play", undo).returncode == 0
    found = tasks(play("--resume"))
    assert found["write a"] == found["count"] == "changed"
    assert (folder / "a").exists()


def test_another_machine_is_done_anew(play, folder) -> None:
    play()
    (notes,) = state().glob("*/done.jsonl")
    text = notes.read_text()
    assert text.count('"machine"') == 1
    notes.write_text(text.replace('"machine":"', '"machine":"another'))
    assert tasks(play("--resume"))["count"] == "changed"


def test_a_handler_that_failed_runs_again(b9prov, local, folder, playbook) -> None:
    path = str(
        playbook(
            f"    - copy: {{content: x, dest: {folder}/out}}\n      notify: tell\n"
            "  handlers:\n"
            f"    - name: tell\n      command: test -e {folder}/go\n"
        )
    )
    assert b9prov("play", path).returncode == 1
    (folder / "go").touch()
    done = b9prov("play", path, "--resume", "--output", "json")
    assert tasks(done) == {"copy": "skipped", "tell": "changed"}
    assert tasks(b9prov("play", path, "--resume", "--output", "json")) == {"copy": "skipped"}


def test_a_handler_that_ran_before_its_task_changed_runs_again(
    b9prov, local, folder, playbook
) -> None:
    path = str(
        playbook(
            f"    - copy: {{content: x, dest: {folder}/out}}\n      notify: tell\n"
            "    - meta: flush_handlers\n"
            f"    - copy: {{content: y, dest: {folder}/out2}}\n      notify: tell\n"
            f"    - command: test -e {folder}/go\n"
            "  handlers:\n"
            f"    - name: tell\n      shell: echo told >> {folder}/told\n"
        )
    )
    assert b9prov("play", path).returncode == 1
    (folder / "go").touch()
    assert b9prov("play", path, "--resume").returncode == 0
    assert (folder / "told").read_text() == "told\ntold\n"


def test_no_log_and_looks_are_never_left_out(b9prov, local, folder, playbook) -> None:
    path = str(
        playbook(
            "    - {name: hidden, command: echo x, no_log: true}\n"
            "    - {name: looks, command: echo x, changed_when: false}\n"
            "    - {name: is there, stat: {path: /}}\n"
            "    - {name: says, debug: {msg: x}}\n"
            "    - {name: delegated, command: echo x, delegate_to: localhost}\n"
            "    - {name: plain, command: echo x}\n"
        )
    )
    b9prov("play", path)
    found = tasks(b9prov("play", path, "--resume", "--output", "json"))
    assert [name for name, status in found.items() if status == "skipped"] == ["plain"]


def test_help_needs_no_engine(folder) -> None:
    """Commands are loaded when used."""
    code = (
        "import sys\nfrom provisioner.cli.main import program\n"
        "try: program(['--help'])\nexcept SystemExit: pass\n"
        "print([m for m in sys.modules if 'engine' in m or 'journal' in m], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"
    assert "apply" in done.stdout and "runs" in done.stdout
