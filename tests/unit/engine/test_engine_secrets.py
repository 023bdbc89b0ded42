"""Secrets don't come out of a run: neither those of the inventory nor those that hosts bring."""

from __future__ import annotations

from engine_harness import Record, Workbench

from provisioner.secrets import Secret, mask


def told(record: Record) -> str:
    """Everything that the events of a run say, as reports show it."""
    return mask(repr(record.events))


def test_secret_variables(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: argument, command: "echo {{ token }}", register: said}
        - {name: text, debug: {msg: "it is {{ token }}"}}
        - {name: kept, set_fact: {kept: "{{ token }}"}}
        - {name: "loop over {{ token }}", command: echo, loop: ["{{ token }}"]}
        - {name: admin, debug: {msg: "{{ gateway.admin_token }}"}}
        - {name: failing, command: "false {{ token }}"}
        """,
        variables={"token": Secret("inventory-secret-42")},
    )
    assert "inventory-secret-42" not in told(record)
    assert "the-admin-token" not in told(record)
    assert "'false', '********'" in told(record)


def test_no_log(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: hidden
          command: echo from-the-host-0123456789
          no_log: true
          register: hidden
        - {name: loop, command: "echo {{ item }}", loop: [item-word], no_log: true}
        - name: bad
          command: "false because-of-this-argument"
          no_log: true
          ignore_errors: true
        - name: broken
          debug: {msg: "{{ hidden.nothing }} and-this-literal"}
          no_log: true
          ignore_errors: true
        - {name: elsewhere, debug: {msg: "{{ hidden.stdout }}"}}
        - name: last
          fail: {msg: the-reason-of-it}
          no_log: true
        """,
    )
    for word in ("from-the-host", "item-word", "because-of", "this-literal", "the-reason"):
        assert word not in told(record)
    assert record.result("hidden")["censored"]
    assert record.result("hidden")["changed"] is True
    assert "no_log" in record.summary().reason


def test_results_that_say_what_is_secret(bench: Workbench) -> None:
    """A module names its secret results; here a variable stands for such a result."""
    from provisioner.engine.judge import register_secrets, shown
    from provisioner.engine.outcome import Group, Outcome
    from provisioner.errors import Source
    from provisioner.playbook.model import Task
    from provisioner.playbook.scope import Scope

    task = Task("t", "machine", {}, Source("f"))
    outcome = Outcome(task, Scope(()), lambda outcome: None, Group(0))
    outcome.result = {"token": "module-secret", "n": 1, "_secrets": ["token", "absent", "n"]}
    register_secrets(outcome)
    assert "_secrets" not in shown(outcome)
    assert "module-secret" not in mask(repr(shown(outcome)))
    assert "'n': 1" in mask(repr(shown(outcome)))
