"""Handlers: when they run, which one, and how often."""

from __future__ import annotations

import pytest
from engine_harness import Workbench

from provisioner.errors import BadInput


def test_handlers_run_after_each_section_in_their_own_order(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          pre_tasks:
            - {name: first, command: echo, notify: [two, one]}
            - {name: pre end, debug: {msg: x}}
          tasks:
            - {name: unchanged, command: echo, changed_when: false, notify: one}
            - name: ignored
              command: "false"
              ignore_errors: true
              notify: one
            - {name: topic, command: echo, notify: topic}
            - {name: flush, meta: flush_handlers}
            - {name: last, command: echo, notify: "{{ 'one' }}"}
          handlers:
            - {name: one, debug: {msg: x}}
            - {name: two, command: echo, notify: three}
            - {name: three, debug: {msg: x}, listen: topic}
            - {name: four, debug: {msg: x}, listen: [topic], tags: never}
        """
    )
    assert [name for name, _ in record.statuses()] == [
        *("first", "pre end", "one", "two", "three"),
        *("unchanged", "ignored", "topic", "three", "four"),
        *("last", "one"),
    ]


def test_of_handlers_with_one_name_the_last_counts(bench: Workbench) -> None:
    for role in ("ra", "rb"):
        tasks = f"- {{name: {role} does, command: echo, notify: {bench_notify(role)}}}"
        bench.write(f"roles/{role}/tasks/main.yaml", tasks)
        bench.write(
            f"roles/{role}/handlers/main.yaml", f"- {{name: again, debug: {{msg: {role}}}}}"
        )
    record = bench.run("- {hosts: workers, roles: [ra, rb]}")
    said = [event.result["msg"] for event in record.tasks if event.task == "again"]
    assert said == ["ra", "rb"]


def bench_notify(role: str) -> str:
    """`ra` names its own handler by its full name."""
    return "'ra : again'" if role == "ra" else "again"


def test_a_role_s_condition_and_variables_hold_for_its_handlers(bench: Workbench) -> None:
    bench.write("roles/r/tasks/main.yaml", "- {name: does, command: echo, notify: again}")
    bench.write("roles/r/handlers/main.yaml", "- {name: again, debug: {msg: '{{ word }}'}}")
    record = bench.run(
        """
        - hosts: workers
          roles:
            - {role: r, vars: {word: param}, when: late is not defined}
          tasks:
            - {meta: flush_handlers}
            - {name: again please, command: echo, notify: again}
            - {name: late, set_fact: {late: 1}}
        """
    )
    assert record.statuses() == [
        ("does", "changed"),
        ("again", "ok"),
        ("again please", "changed"),
        ("late", "ok"),
        ("again", "skipped"),
    ]


def test_a_failed_host_runs_no_handlers(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - {name: does, command: echo, notify: again}
            - {name: fails, command: "false"}
          handlers:
            - {name: again, debug: {msg: x}}
        """
    )
    assert record.statuses() == [("does", "changed"), ("fails", "failed")]


def test_an_unknown_handler_is_found_before_the_run(bench: Workbench) -> None:
    with pytest.raises(BadInput, match=r"play\.yaml:4: there is no handler 'restrat'"):
        bench.load(
            """
            - hosts: workers
              tasks:
                - command: echo
                  notify: restrat
              handlers:
                - {name: restart, debug: {msg: x}}
            """
        )


def test_an_unknown_handler_of_an_expression_fails_the_task(bench: Workbench) -> None:
    record = bench.run("- {name: does, command: echo, notify: \"{{ 'x' ~ inventory_hostname }}\"}")
    assert record.statuses() == [("does", "failed")]
    assert record.summary().reason == "does: notify: there is no handler 'xw1'"
