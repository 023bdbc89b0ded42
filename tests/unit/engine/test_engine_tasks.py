"""What keywords of a task mean, as ansible-core 2.19 has it."""

from __future__ import annotations

import pytest
from engine_harness import Workbench

from provisioner.errors import BadInput


def test_a_play_on_three_hosts(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: say
          command: echo {{ inventory_hostname }}
          register: said
        - name: show
          debug: {msg: "{{ said.stdout }}"}
        """,
        hosts=("w1", "w2", "w3"),
    )
    for host in ("w1", "w2", "w3"):
        assert record.statuses(host) == [("say", "changed"), ("show", "ok")]
        assert record.message("show", host) == host


def test_all_items_of_a_loop_run_before_its_failure_stops_the_host(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: loop
          command: sh -c 'exit {{ item }}'
          loop: [0, 1, 0]
        - name: after
          command: touch {{ trace }}
        """,
        variables={"trace": str(bench.folder / "trace")},
    )
    assert record.statuses() == [("loop", "changed"), ("loop", "failed"), ("loop", "changed")]
    assert not (bench.folder / "trace").exists()
    summary = record.summary()
    assert (summary.failed, summary.changed, summary.reason) == (1, 0, "loop: non-zero return code")


def test_an_item_that_fails_on_the_controller_doesn_t_stop_the_others(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: loop
          command: echo {{ item.word }}
          loop: [{word: a}, {}, {word: c}]
        - name: after
          command: touch {{ trace }}
        """,
        variables={"trace": str(bench.folder / "trace")},
    )
    assert [status for _, status in record.statuses()] == ["changed", "failed", "changed"]
    assert not (bench.folder / "trace").exists()


def test_loops(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: some skipped
          command: echo {{ item }}
          loop: [1, 2]
          when: item != 1
          register: some
        - name: none
          command: echo {{ item }}
          loop: []
          register: none_at_all
        - name: bad loop, but skipped
          command: echo {{ item }}
          loop: "{{ some.nothing }}"
          when: false
        - name: one level is opened up
          debug: {msg: "{{ item }}"}
          with_items: [[1, 2], 3, [[4]]]
        - name: own name and label
          debug: {msg: "{{ each.n }}"}
          loop: "{{ [{'n': 'x'}] | selectattr('n') }}"
          loop_control: {loop_var: each, label: "the {{ each.n }}"}
        - name: a failing one, ignored
          command: sh -c 'exit {{ item }}'
          loop: [0, 1]
          ignore_errors: true
          register: half
        - name: sums
          debug:
            msg:
              - "{{ some.results | map(attribute='skipped', default=false) }}"
              - "{{ some.changed }} {{ some is skipped }} {{ some.results[1].item }}"
              - "{{ none_at_all.results }} {{ none_at_all is skipped }}"
              - "{{ half is failed }} {{ half.msg }} {{ half.results[0].failed }}"
        """,
    )
    assert record.message("sums") == [
        [True, False],
        "True False 2",
        "[] True",
        "True One or more items failed False",
    ]
    assert record.result("own name and label", item="the x")["msg"] == "x"
    opened = [e.result["msg"] for e in record.tasks if e.task == "one level is opened up"]
    assert opened == [1, 2, 3, [4]]
    assert ("none", "skipped") in record.statuses()
    assert ("bad loop, but skipped", "skipped") in record.statuses()
    summary = record.summary()
    assert (summary.ok, summary.changed, summary.skipped, summary.failed) == (5, 2, 2, 0)


def test_a_loop_over_no_list_fails(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: loop
          debug: {msg: x}
          loop: "{{ {'a': 1} }}"
        """
    )
    assert "needs a list, not dict" in record.result("loop")["msg"]


def test_until(bench: Workbench) -> None:
    counter = bench.folder / "counter"
    record = bench.run(
        """
        - name: third time
          shell: echo x >> {{ counter }}; wc -l < {{ counter }}
          register: lines
          until: lines.stdout | int >= 3
          retries: 5
          delay: 0
        - name: never
          command: echo no
          register: said
          until: said.stdout == 'yes'
          retries: 2
          delay: 0
          failed_when: false
          ignore_errors: true
        - name: without a condition it is success that is waited for
          shell: rm {{ counter }}.2 || { touch {{ counter }}.2; exit 1; }
          retries: 3
          delay: 0
        - name: met, but failed
          command: "false"
          register: bad
          until: bad.rc == 1
          delay: 0
          ignore_errors: true
        """,
        variables={"counter": str(counter)},
    )
    assert record.statuses() == [
        ("third time", "changed"),
        ("never", "ignored"),
        ("without a condition it is success that is waited for", "changed"),
        ("met, but failed", "ignored"),
    ]
    assert record.result("third time")["attempts"] == 3
    assert record.result("never")["attempts"] == 2
    assert record.result("without a condition it is success that is waited for")["attempts"] == 2
    assert record.result("met, but failed")["attempts"] == 1


def test_the_last_try_is_judged_like_any_task(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: judged
          command: echo 1
          register: said
          until: said is not changed
          changed_when: false
          retries: 1
          delay: 0
        """
    )
    assert record.statuses() == [("judged", "ok")]


def test_failed_when_and_changed_when(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: not a failure
          shell: exit 3
          register: odd
          failed_when: odd.rc != 3
          changed_when: odd.rc == 99
        - name: all must hold
          command: echo x
          failed_when: [true, false]
        - name: nothing said
          command: "true"
          failed_when: []
          changed_when:
        - name: keys
          debug: {msg: "{{ odd.failed }} {{ odd.changed }} {{ odd is succeeded }}"}
        - name: bad condition
          command: "true"
          changed_when: odd.nothing.at_all
          ignore_errors: true
        - name: a failure
          command: echo x
          register: said
          failed_when: "'x' in said.stdout"
        - name: not reached
          command: "true"
        """
    )
    assert record.statuses() == [
        ("not a failure", "ok"),
        ("all must hold", "changed"),
        ("nothing said", "changed"),
        ("keys", "ok"),
        ("bad condition", "ignored"),
        ("a failure", "failed"),
    ]
    assert record.message("keys") == "False False True"
    assert record.summary().reason == "a failure: the condition of failed_when holds"


def test_a_condition_that_is_a_text_is_an_error_unless_its_truth_is_plain(
    bench: Workbench,
) -> None:
    record = bench.run(
        """
        - {name: word, debug: {msg: x}, when: word, ignore_errors: true}
        - {name: name, debug: {msg: x}, when: inventory_hostname}
        - {name: empty, debug: {msg: x}, when: empty}
        - {name: templated, debug: {msg: x}, when: "{{ 'Fal' }}{{ 'se' }}"}
        - {name: list, debug: {msg: x}, when: "[]"}
        """,
        variables={"word": "no", "empty": ""},
    )
    assert record.statuses() == [
        ("word", "ignored"),
        ("name", "ok"),
        ("empty", "skipped"),
        ("templated", "skipped"),
        ("list", "skipped"),
    ]


def test_check_mode(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: would write
          copy: {dest: "{{ here }}/a", content: a}
        - name: does write
          copy: {dest: "{{ here }}/b", content: b}
          check_mode: false
        - name: commands are skipped
          command: touch {{ here }}/c
        - name: says so
          debug: {msg: "{{ ansible_check_mode }}"}
        """,
        variables={"here": str(bench.folder)},
        check=True,
        diff=True,
    )
    assert record.statuses() == [
        ("would write", "changed"),
        ("does write", "changed"),
        ("commands are skipped", "skipped"),
        ("says so", "ok"),
    ]
    assert record.result("would write")["diff"]["after"] == "a"
    assert [(bench.folder / name).exists() for name in "abc"] == [False, True, False]
    assert record.message("says so") is True


def test_check_mode_of_a_task_in_an_ordinary_run(bench: Workbench) -> None:
    bench.run(
        "- {copy: {dest: '{{ here }}/a', content: a}, check_mode: true}",
        variables={"here": str(bench.folder)},
    )
    assert not (bench.folder / "a").exists()


def test_tags_choose_tasks(bench: Workbench) -> None:
    from provisioner.engine.tags import TagFilter

    record = bench.run(
        """
        - {name: a, debug: {msg: a}, tags: [x, y]}
        - {name: b, debug: {msg: b}}
        - {name: c, debug: {msg: c}, tags: always}
        - {name: d, debug: {msg: d}, tags: [never, z]}
        """,
        tags=TagFilter(only=frozenset({"x"})),
    )
    assert [name for name, _ in record.statuses()] == ["a", "c"]


@pytest.mark.parametrize("option", ["only", "skip"])
def test_a_tag_that_no_task_has(bench: Workbench, option: str) -> None:
    from provisioner.engine.tags import TagFilter

    tags = TagFilter(**{option: frozenset({"ollma"})})
    with pytest.raises(BadInput, match=r"ollma: no task has this tag \(did you mean 'ollama'\?\)"):
        bench.run("- {debug: {msg: a}, tags: ollama}", tags=tags)


def test_environment(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          environment: {ONE: play, TWO: play}
          tasks:
            - block:
                - name: said
                  shell: echo $ONE $TWO $THREE
                  environment: {TWO: "{{ word }}", THREE: "{{ nothing | default(omit) }}"}
              environment: {ONE: block}
            - name: restored
              shell: echo $ONE $TWO ${THREE-unset}
        """,
        variables={"word": "task"},
    )
    assert record.result("said")["stdout"] == "block task"
    assert record.result("restored")["stdout"] == "play play unset"


def test_become_chooses_the_conversation(bench: Workbench) -> None:
    bench.run(
        """
        - hosts: workers
          become: true
          tasks:
            - {ping: , name: root}
            - {ping: , name: login user, become: false}
            - {ping: , name: other, become_user: "{{ other }}"}
            - {ping: , name: without becoming, become: false, become_user: nobody}
        """,
        variables={"other": "postgres"},
    )
    assert bench.opened == [("w1", "root"), ("w1", None), ("w1", "postgres")]


def test_omitted_arguments_are_as_if_not_written(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: file
          copy: {dest: "{{ here }}/a", content: a, mode: "{{ nothing | default(omit) }}"}
        - name: nested
          debug: {msg: {a: "{{ nothing | default(omit) }}", b: ["{{ omit }}", 1]}}
        - name: within a text
          debug: {msg: "x{{ omit }}"}
          ignore_errors: true
        - name: the word from a host is no omission
          command: echo __omit__
          register: said
        - name: kept
          debug: {msg: "{{ said.stdout }}"}
        """,
        variables={"here": str(bench.folder)},
    )
    assert record.statuses()[0] == ("file", "changed")
    assert record.message("nested") == {"b": [1]}
    assert record.statuses()[2] == ("within a text", "ignored")
    assert record.message("kept") == "__omit__"


def test_debug_assert_and_fail(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: quiet, debug: {msg: x, verbosity: 1}}
        - {name: var, debug: {var: word}}
        - {name: undefined, debug: {var: nothing.at_all}}
        - name: wrong
          assert: {that: ["word == 'w'", "word is not defined"], fail_msg: "no {{ word }}"}
          ignore_errors: true
        - {name: right, assert: {that: word == 'w'}}
        - {name: end, fail: {msg: "{{ word }} is wrong"}}
        """,
        variables={"word": "w"},
    )
    assert record.statuses() == [
        ("quiet", "skipped"),
        ("var", "ok"),
        ("undefined", "ok"),
        ("wrong", "ignored"),
        ("right", "ok"),
        ("end", "failed"),
    ]
    assert record.result("var")["word"] == "w"
    assert record.result("undefined")["nothing.at_all"] == "VARIABLE IS NOT DEFINED!"
    assert record.result("wrong")["assertion"] == "word is not defined"
    assert record.summary().reason == "end: w is wrong"


def test_names_are_evaluated_where_possible(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: "on {{ inventory_hostname }}", debug: {msg: x}}
        - {name: "what is {{ nothing }}", debug: {msg: x}}
        """
    )
    assert [name for name, _ in record.statuses()] == ["on w1", "what is {{ nothing }}"]
