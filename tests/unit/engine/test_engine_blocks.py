"""Blocks, includes, run_once and batches, as ansible-core 2.19 has them."""

from __future__ import annotations

import pytest
from engine_harness import Workbench

from provisioner.errors import BadInput


def test_a_failure_is_rescued(bench: Workbench) -> None:
    record = bench.run(
        """
        - block:
            - {name: breaks, command: sh -c 'exit 3'}
            - {name: left out, debug: {msg: no}}
          rescue:
            - name: why
              debug: {msg: "{{ ansible_failed_task.name }} {{ ansible_failed_result.rc }}"}
          always:
            - {name: in any case, debug: {msg: always}}
        - {name: goes on, command: "true"}
        """
    )
    assert record.statuses() == [
        ("breaks", "rescued"),
        ("why", "ok"),
        ("in any case", "ok"),
        ("goes on", "changed"),
    ]
    assert record.message("why") == "breaks 3"
    summary = record.summary()
    assert (summary.ok, summary.failed, summary.rescued, summary.well) == (3, 0, 1, True)
    assert not summary.reason


def test_always_without_rescue_and_a_rescue_that_fails(bench: Workbench) -> None:
    record = bench.run(
        """
        - block:
            - block:
                - {name: breaks, fail: {msg: first}}
              rescue:
                - {name: breaks too, fail: {msg: second}}
              always:
                - {name: inner, debug: {msg: always}}
          always:
            - {name: outer, debug: {msg: always}}
        - {name: never reached, debug: {msg: no}}
        """
    )
    assert record.statuses() == [
        ("breaks", "rescued"),
        ("breaks too", "failed"),
        ("inner", "ok"),
        ("outer", "ok"),
    ]
    assert record.summary().reason == "breaks too: second"


def test_what_follows_a_rescued_failure_is_still_sent_ahead(bench: Workbench) -> None:
    record = bench.run(
        """
        - block:
            - {name: breaks, command: "sh -c 'exit {{ item }}'", loop: [0, 1]}
          rescue:
            - {name: mends, command: "true"}
        - {name: more, command: "true", loop: [1, 2, 3]}
        """
    )
    assert [status for _, status in record.statuses()] == [
        "changed",
        "rescued",
        *["changed"] * 4,
    ]


def test_handlers_of_a_rescued_host_run(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - block:
                - {name: changes, command: "true", notify: tell}
                - {name: breaks, fail: {msg: no}}
              rescue:
                - {name: mends, debug: {msg: yes}}
          handlers:
            - {name: tell, debug: {msg: told}}
        """
    )
    assert record.statuses()[-1] == ("tell", "ok")


def test_an_include_that_is_repeated_with_names_known_late(bench: Workbench) -> None:
    for name in ("one", "two"):
        bench.write(
            f"{name}.yaml",
            f"- {{name: {name}, debug: {{msg: '{{{{ item }}}} {{{{ word }}}}'}}}}",
        )
    record = bench.run(
        """
        - {name: known late, command: echo two, register: second}
        - name: both
          include_tasks: "{{ item }}.yaml"
          vars: {word: "of {{ item }}"}
          loop: [one, "{{ second.stdout }}"]
        """
    )
    assert record.statuses()[1:] == [("both", "ok"), ("both", "ok"), ("one", "ok"), ("two", "ok")]
    assert record.message("two") == "two of two"
    assert record.summary().ok == 5


def test_an_include_of_what_is_not_there(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: word, set_fact: {word: none_such}}
        - {name: in, include_tasks: "{{ word }}.yaml"}
        """
    )
    assert record.summary().failed == 1
    assert "no such task file" in record.summary().reason


def test_roles_depend_on_roles_and_are_included_by_name(bench: Workbench) -> None:
    bench.write("roles/base/tasks/main.yaml", "- {name: base, debug: {msg: '{{ word }}'}}")
    bench.write("roles/base/defaults/main.yaml", "word: default")
    bench.write("roles/top/meta/main.yaml", "dependencies: [{role: base, vars: {word: top}}]")
    bench.write(
        "roles/top/tasks/main.yaml",
        "- {name: top, command: 'true', notify: tell}\n- include_role: {name: base}\n",
    )
    bench.write("roles/top/handlers/main.yaml", "- {name: tell, debug: {msg: told}}")
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - include_role: {name: "{{ item }}"}
              loop: [top]
        """
    )
    assert [name for name, _ in record.statuses()] == [
        "include_role",
        "base",
        "top",
        "include_role",
        "base",
        "tell",
    ]
    assert [e.result["msg"] for e in record.tasks if e.task == "base"] == ["top", "default"]


def test_a_role_that_is_listed_twice_runs_once(bench: Workbench) -> None:
    bench.write("roles/base/tasks/main.yaml", "- {name: base, debug: {msg: hello}}")
    bench.write("roles/other/meta/main.yaml", "dependencies: [base]")
    bench.write("roles/other/tasks/main.yaml", "- {name: other, debug: {msg: hello}}")
    record = bench.run("- {hosts: workers, roles: [base, other, base]}")
    assert [name for name, _ in record.statuses()] == ["base", "other"]


def test_roles_that_depend_on_each_other(bench: Workbench) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        bench.write(
            f"roles/{one}/meta/main.yaml", f"dependencies: [{{role: {other}, tags: {one}}}]"
        )
    with pytest.raises(BadInput, match="in a loop"):
        bench.run("- {hosts: workers, roles: [a]}")


def test_run_once(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: once, command: "echo {{ inventory_hostname }}", run_once: true, register: said}
        - {name: fact, set_fact: {word: "{{ inventory_hostname }}"}, run_once: true}
        - {name: all, debug: {msg: "{{ said.stdout }} {{ word }}"}}
        """,
        hosts=("w1", "w2", "w3"),
    )
    assert [event.host for event in record.tasks if event.task in ("once", "fact")] == ["w1", "w1"]
    for host in ("w1", "w2", "w3"):
        assert record.message("all", host) == "w1 w1"
    assert record.summary("w2").ok == 1


def test_run_once_that_fails_stops_all(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: once, fail: {msg: no}, run_once: true}
        - {name: after, debug: {msg: no}}
        """,
        hosts=("w1", "w2"),
    )
    assert record.summary("w1").failed == 1
    assert not record.summary("w2").well
    assert "runs once, failed" in record.summary("w2").stopped
    assert [event.task for event in record.tasks] == ["once"]


FAILS_ON_W1 = """
    - hosts: workers
      %s
      tasks:
        - {name: first, debug: {msg: hello}}
        - {name: breaks, fail: {msg: no}, when: inventory_hostname == "w1"}
        - {name: after, debug: {msg: hello}}
    - {hosts: workers, tasks: [{name: next play, debug: {msg: hello}}]}
"""


def test_any_errors_fatal(bench: Workbench) -> None:
    hosts = ("w1", "w2", "w3")
    record = bench.run(FAILS_ON_W1 % "any_errors_fatal: true", hosts=hosts)
    assert record.statuses("w3") == [("first", "ok"), ("breaks", "skipped")]
    assert record.summary("w3").stopped == "stopped, since w1 failed (any_errors_fatal)"


@pytest.mark.parametrize(("bound", "goes_on"), [(50, True), (30, False)])
def test_max_fail_percentage(bench: Workbench, bound: int, goes_on: bool) -> None:
    hosts = ("w1", "w2", "w3")
    record = bench.run(FAILS_ON_W1 % f"max_fail_percentage: {bound}", hosts=hosts)
    assert (("after", "ok") in record.statuses("w2")) is goes_on
    assert (("next play", "ok") in record.statuses("w2")) is goes_on


def test_serial_stops_after_a_batch_of_which_all_failed(bench: Workbench) -> None:
    hosts = ("w2", "w3", "w1", "w4")
    record = bench.run(FAILS_ON_W1 % "serial: [2, 1]", hosts=hosts)
    order = list(dict.fromkeys(event.host for event in record.tasks))
    assert set(order[:2]) == {"w2", "w3"} and order[2:] == ["w1"]
    assert record.summary("w4").stopped == "not begun, since all hosts before it failed"
    assert "next play" not in {event.task for event in record.tasks}


def test_end_host_and_end_play(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - {meta: end_host, when: inventory_hostname == "w1"}
            - {name: after, debug: {msg: hello}}
        - hosts: workers
          tasks:
            - {name: before the end, debug: {msg: hello}}
            - {meta: end_play}
            - {name: never, debug: {msg: hello}}
        """,
        hosts=("w1", "w2"),
    )
    assert record.statuses("w1") == [("before the end", "ok")]
    assert record.statuses("w2") == [("after", "ok"), ("before the end", "ok")]
    assert all(record.summary(host).well for host in ("w1", "w2"))


def test_script_fetch_and_include_vars(bench: Workbench) -> None:
    bench.write("say.sh", "#!/bin/sh\necho said $1\n")
    bench.write("words.yaml", "word: '{{ inventory_hostname }}!'\n")
    folder = bench.folder
    record = bench.run(
        f"""
        - {{name: say, script: "say.sh hello"}}
        - {{name: words, include_vars: words.yaml}}
        - copy: {{content: "{{{{ word }}}}", dest: "{folder}/there"}}
        - {{name: here, fetch: {{src: "{folder}/there", dest: "{folder}/got"}}}}
        - {{name: again, fetch: {{src: "{folder}/there", dest: "{folder}/flat", flat: true}}}}
        """
    )
    assert record.result("say")["stdout_lines"] == ["said hello"]
    assert (folder / "got" / "w1" / str(folder / "there").lstrip("/")).read_text() == "w1!"
    assert (folder / "flat").read_text() == "w1!"
    assert record.statuses()[-2:] == [("here", "changed"), ("again", "changed")]


def test_what_is_fetched_stays_in_its_folder(bench: Workbench) -> None:
    """Also where the host has told the path."""
    bench.write("deep/er/evil", "planted")
    bench.write(
        "told", f"{bench.folder}/deep/er/../../../../../../../../../{bench.folder}/deep/er/evil"
    )
    record = bench.run(
        """
        - {command: "cat told", args: {chdir: "{{ here }}"}, register: told}
        - name: planted
          fetch: {src: "{{ told.stdout }}", dest: "{{ here }}/a/b/c"}
          ignore_errors: true
        """,
        variables={"here": str(bench.folder)},
    )
    assert "would lead out of" in record.result("planted")["msg"]
    assert not (bench.folder / "a").exists()


def test_loop_control(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: loop
          debug: {msg: "{{ n }} {{ ansible_loop.last }} {{ ansible_loop.length }}"}
          loop: [a, b]
          loop_control: {index_var: n, extended: true}
        """
    )
    assert [event.result["msg"] for event in record.tasks] == ["0 False 2", "1 True 2"]


def test_a_folder_is_copied_with_and_without_its_name(bench: Workbench) -> None:
    bench.write("files/tree/a.txt", "a")
    bench.write("files/tree/inner/b.txt", "b")
    (bench.folder / "files/tree/empty").mkdir()
    text = f"""
        - {{name: named, copy: {{src: tree, dest: "{bench.folder}/one", mode: "0640"}}}}
        - {{name: content, copy: {{src: tree/, dest: "{bench.folder}/two"}}}}
    """
    assert bench.run(text, check=True).statuses() == [("named", "changed"), ("content", "changed")]
    assert not (bench.folder / "one").exists()
    assert bench.run(text).statuses() == [("named", "changed"), ("content", "changed")]
    assert bench.run(text).statuses() == [("named", "ok"), ("content", "ok")]
    assert (bench.folder / "one/tree/inner/b.txt").read_text() == "b"
    assert (bench.folder / "one/tree/a.txt").stat().st_mode & 0o777 == 0o640
    assert (bench.folder / "two/empty").is_dir() and (bench.folder / "two/a.txt").exists()


def test_flags_and_environments_may_be_expressions(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: fails, command: "false", ignore_errors: "{{ lenient }}"}
        - {name: says, command: sh -c 'echo $WORD $OTHER', environment: "{{ words }}"}
        """,
        variables={"lenient": True, "words": {"WORD": "hello", "OTHER": 1}},
    )
    assert record.statuses() == [("fails", "ignored"), ("says", "changed")]
    assert record.result("says")["stdout"] == "hello 1"
    assert record.summary().changed == 2
