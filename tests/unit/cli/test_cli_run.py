"""Running playbooks on this machine itself, without SSH."""

from __future__ import annotations

import json
import os
from pathlib import Path
from xml.etree import ElementTree

WELL = "    - command: echo fine\n      changed_when: false\n"
FAILING = "    - command: 'false'\n"


def summary(out: str) -> dict[str, dict[str, object]]:
    """The last line of JSON output."""
    lines = [json.loads(line) for line in out.splitlines()]
    assert all(line["schema"] == 1 for line in lines)
    assert lines[-1]["event"] == "summary"
    return lines[-1]["hosts"]


def test_all_well(b9prov, local, playbook) -> None:
    done = b9prov("play", str(playbook(WELL)))
    assert done.returncode == 0, done.stderr
    assert "localhost: ok=1 changed=0 skipped=0 failed=0" in done.stdout
    assert done.stderr == ""


def test_json_ends_with_the_summary(b9prov, local, playbook) -> None:
    done = b9prov("play", str(playbook(WELL)), "-i", str(local), "--output", "json")
    counts = {"ok": 1, "changed": 0, "skipped": 0, "failed": 0, "unreachable": False}
    assert summary(done.stdout) == {"localhost": counts}


def test_a_failure_leaves_a_retry_file_and_its_command(b9prov, local, playbook) -> None:
    path = str(playbook(FAILING))
    words = ["-e", "door=secret", "--tags", "all", "--diff"]
    done = b9prov("play", path, "-i", "inventory.yaml", *words)
    assert done.returncode == 1
    limit = Path(os.environ["XDG_STATE_HOME"]) / "b9prov" / "retry" / "try.limit"
    assert limit.read_text() == "localhost\n"
    assert limit.parent.stat().st_mode & 0o077 == 0
    retry = f"b9prov play {path} -i inventory.yaml -e 'door=…' --tags all --diff --limit @{limit}"
    assert retry in done.stdout
    assert "secret" not in done.stdout
    again = b9prov("play", str(playbook(WELL)), "--limit", f"@{limit}")
    assert again.returncode == 0
    assert not limit.exists()


def test_a_host_that_cannot_be_reached_does_not_stop_the_others(
    b9prov, folder, playbook, listener
) -> None:
    port = listener.getsockname()[1]
    listener.close()
    (folder / "inventory.yaml").write_text(
        f"hosts:\n  localhost: {{}}\n  gone: {{address: 127.0.0.1, port: {port}, user: a}}\n"
    )
    done = b9prov("play", str(playbook(WELL)), "--output", "json", "--junit", "junit.xml")
    assert done.returncode == 1
    ends = summary(done.stdout)
    assert ends["localhost"]["ok"] == 1
    assert ends["gone"]["unreachable"] is True
    assert ElementTree.parse(folder / "junit.xml").getroot().tag == "testsuites"
    assert "Traceback" not in done.stderr


def test_tags_check_and_variables(b9prov, local, playbook, folder) -> None:
    path = str(
        playbook(
            f"    - copy: {{content: '{{{{ word }}}}', dest: {folder}/out}}\n      tags: [write]\n"
            "    - command: 'false'\n      tags: [never_mind]\n"
        )
    )
    words = ["play", path, "-e", "word=hello", "--skip-tags", "never_mind"]
    assert "would change" in b9prov(*words, "--check").stdout
    assert not (folder / "out").exists()
    done = b9prov(*words, "--tags", "write", "--diff")
    assert done.returncode == 0
    assert "+hello" in done.stdout
    assert (folder / "out").read_text() == "hello"


def test_magic_variables(b9prov, local, playbook) -> None:
    done = b9prov(
        "play",
        str(
            playbook(
                "    - assert:\n        that:\n"
                "          - b9agent_pyz is search('b9agent.pyz')\n"
                "          - b9prov_version == '0.1.0'\n"
                "          - b9prov_controller_time > 1700000000\n"
                "          - b9prov_state_dir is search('b9prov')\n"
            )
        ),
    )
    assert done.returncode == 0, done.stdout


def test_a_shipped_playbook_can_be_overridden(b9prov, local, playbook, folder) -> None:
    own = str(playbook("    - debug: {msg: my own way up}\n", "own/up.yaml").parent)
    done = b9prov("up", "--playbooks", own)
    assert done.returncode == 0
    assert "my own way up" in done.stdout


def test_a_template_can_be_overridden(b9prov, local, playbook, folder) -> None:
    for place, text in (("templates", "shipped"), ("mine", "my own")):
        (folder / place).mkdir()
        (folder / place / "x.j2").write_text(text)
    path = str(playbook(f"    - template: {{src: x.j2, dest: {folder}/out}}\n"))
    assert b9prov("play", path, "--templates", "mine").returncode == 0
    assert (folder / "out").read_text() == "my own"


def test_down_asks_first_and_keeps_data(b9prov, local, playbook) -> None:
    tasks = "    - debug: {msg: 'keep {{ keep_data }}'}\n"
    own = str(playbook(tasks, "own/down.yaml").parent)
    assert b9prov("down", "--playbooks", own).returncode == 2
    assert "keep False" in b9prov("down", "--playbooks", own, "--yes").stdout
    assert "keep True" in b9prov("down", "--playbooks", own, "--yes", "--keep-data").stdout
    assert b9prov("down", "--playbooks", own, "--check").returncode == 0


def status_playbook(playbook, ready: str) -> str:
    fact = (
        "    - set_fact:\n        b9_status:\n          name: '{{ inventory_hostname }}'\n"
        f"          ready: {ready}\n          machine_id: 5f3e2a11\n"
        "          last_keepalive: '{{ b9prov_controller_time - 12 }}'\n"
    )
    return str(playbook(fact, "own/status.yaml").parent)


def test_status_of_a_ready_host(b9prov, local, playbook) -> None:
    own = status_playbook(playbook, "true")
    done = b9prov("status", "--playbooks", own)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "1 of 1 ready"
    done = b9prov("status", "--playbooks", own, "--output", "json")
    shown = json.loads(done.stdout)
    assert shown["schema"] == 1
    [host] = shown["hosts"]
    assert (host["name"], host["ready"], host["machine_id"]) == ("localhost", True, "5f3e2a11")
    assert 12 <= host["last_keepalive_age"] < 60


def test_status_of_hosts_that_are_not_ready(b9prov, folder, playbook, listener) -> None:
    own = status_playbook(playbook, "false")
    port = listener.getsockname()[1]
    listener.close()
    (folder / "inventory.yaml").write_text(
        f"hosts:\n  localhost: {{}}\n  gone: {{address: 127.0.0.1, port: {port}, user: a}}\n"
    )
    done = b9prov("status", "--playbooks", own, "--output", "json")
    assert done.returncode == 1
    here, gone = json.loads(done.stdout)["hosts"]
    assert here["ready"] is False
    assert gone["ready"] is False
    assert "nothing answers" in gone["reason"]
    assert gone["advice"]
