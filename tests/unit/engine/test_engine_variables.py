"""Where variables come from, which one counts, and that data is never taken for a template."""

from __future__ import annotations

from engine_harness import Workbench

# Layers of one variable from the strongest to the weakest, as ansible-core 2.19 has them.
PRECEDENCE = """
- hosts: workers
  vars: {e: play, f: play, files: play}
  vars_files: [vars.yaml]
  roles:
    - {role: other}
    - {role: r, vars: {c: use, d: use, b: use}}
  tasks:
    - {name: after, debug: {msg: "{{ f }} {{ g }} {{ h }} {{ i }}"}}
    - {set_fact: {x: fact}}
    - import_tasks: inner.yaml
      vars: {x: import}
    - include_tasks: inner.yaml
      vars: {x: include}
"""


def test_precedence(bench: Workbench) -> None:
    bench.write("vars.yaml", "files: file\n")
    bench.write("inner.yaml", "- {name: inner, debug: {msg: '{{ x }}'}, vars: {x: own}}")
    bench.write("roles/other/vars/main.yaml", "e: other_vars\n")
    bench.write("roles/other/defaults/main.yaml", "h: other_defaults\ni: other_defaults\n")
    bench.write("roles/r/vars/main.yaml", "d: role_vars\ne: role_vars\nf: role_vars\n")
    bench.write("roles/r/defaults/main.yaml", "g: defaults\nh: defaults\n")
    bench.write(
        "roles/r/tasks/main.yaml",
        """
        - set_fact: {b: fact}
        - name: within
          debug: {msg: "{{ [a, b, c, d, e, f, g, h, i, files] | join(' ') }}"}
          vars: {a: task, b: task, c: task}
        - name: item
          debug: {msg: "{{ a }}"}
          loop: [loop]
          loop_control: {loop_var: a}
        """,
    )
    record = bench.run(PRECEDENCE, variables={"g": "inventory"}, extra={"a": "extra"})
    assert record.message("within") == (
        "extra fact task use role_vars role_vars inventory defaults other_defaults file"
    )
    assert record.message("item") == "loop"
    assert record.message("after") == "role_vars inventory defaults other_defaults"
    inner = [event.result["msg"] for event in record.tasks if event.task == "inner"]
    assert inner == ["fact", "include"]


def test_an_imported_playbook_s_variables(bench: Workbench) -> None:
    bench.write("roles/r/vars/main.yaml", "y: role_vars\n")
    bench.write("roles/r/tasks/main.yaml", "- {name: said, debug: {msg: '{{ x }} {{ y }}'}}")
    bench.write("inner.yaml", "- {hosts: workers, vars: {x: play}, roles: [r]}")
    record = bench.run("- {import_playbook: inner.yaml, vars: {x: import, y: import}}")
    assert record.message("said") == "import role_vars"


def test_the_condition_of_an_include_is_evaluated_once(bench: Workbench) -> None:
    bench.write(
        "inner.yaml",
        """
        - {name: set, set_fact: {late: 1}}
        - {name: then, debug: {msg: "{{ word }}"}}
        """,
    )
    record = bench.run(
        """
        - include_tasks: {file: inner.yaml}
          vars: {word: first}
          when: late is not defined
        - include_tasks: inner.yaml
          vars: {word: second}
          when: late is not defined
        - import_tasks: inner.yaml
          vars: {word: third}
          when: late is not defined
        """
    )
    assert record.statuses() == [
        *[("include_tasks", "ok"), ("set", "ok"), ("then", "ok")],
        ("include_tasks", "skipped"),
        *[("set", "skipped"), ("then", "skipped")],
    ]


def test_roles_from_tasks(bench: Workbench) -> None:
    bench.write("roles/r/defaults/main.yaml", "shown: default\nword: default\n")
    bench.write("roles/r/tasks/other.yaml", "- {name: other, debug: {msg: '{{ word }}'}}")
    record = bench.run(
        """
        - set_fact: {word: fact}
        - include_role: {name: r, tasks_from: other}
          vars: {word: include}
        - import_role: {name: r, tasks_from: other}
          vars: {word: import}
        - {name: after, debug: {msg: "{{ shown }}"}}
        """
    )
    assert [e.result["msg"] for e in record.tasks if e.task == "other"] == ["include", "fact"]
    assert record.message("after") == "default"


def test_variables_are_evaluated_when_they_are_used(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          vars:
            path: "{{ base }}/x"
            broken: "{{ nowhere }}"
            line: "{{ base }}\\n"
            text: " {{ base }} "
            list: "{{ [1, 2] | map('string') }}"
            password: "{{ secret }}"
          tasks:
            - {name: path, debug: {msg: "{{ path }}"}}
            - {name: other base, debug: {msg: "{{ path }}"}, vars: {base: /other}}
            - {name: default, debug: {msg: "{{ broken | default('none') }}"}}
            - {name: undefined, debug: {msg: "{{ broken }}"}, ignore_errors: true}
            - {name: skipped, debug: {msg: "{{ broken }}"}, when: broken is defined}
            - {name: texts, debug: {msg: ["{{ line }}", "{{ text }}", "{{ list }}"]}}
            - {name: commented, debug: {msg: "a{# b #}"}}
        """,
        variables={"base": "/base"},
    )
    assert record.message("path") == "/base/x"
    assert record.message("other base") == "/other/x"
    assert record.message("default") == "none"
    assert record.result("undefined")["msg"] == "'nowhere' is undefined"
    assert ("skipped", "skipped") in record.statuses()
    assert record.message("texts") == ["/base\n", " /base ", ["1", "2"]]
    assert record.message("commented") == "a"


def test_what_a_host_sent_is_data(bench: Workbench) -> None:
    """Neither by way of another variable, nor as the name of one, nor as a condition."""
    bench.monkeypatch.setenv("B9_TEST_TOKEN", "leaked")
    evil = "{{ lookup('env', 'B9_TEST_TOKEN') }}"
    bench.write("evil", evil)
    bench.write("evil_name", "lookup('env', 'B9_TEST_TOKEN')")
    record = bench.run(
        """
        - {command: "cat evil", args: {chdir: "{{ here }}"}, register: said}
        - {command: "cat evil_name", args: {chdir: "{{ here }}"}, register: named}
        - {set_fact: {kept: "{{ said.stdout }}", within: {a: "x{{ said.stdout }}"}}}
        - name: shown
          debug: {msg: ["{{ said.stdout }}", "{{ kept }}", "{{ within.a }}", "{{ via }}"]}
          vars: {via: "{{ kept }}"}
        - {name: looped, debug: {msg: "{{ item }}"}, loop: "{{ [said.stdout] }}"}
        - {name: named, debug: {var: "{{ named.stdout }}"}}
        - {name: condition, debug: {msg: x}, when: "{{ named.stdout }}", ignore_errors: true}
        - {name: theirs, debug: {msg: "{{ hostvars['w1'].kept }}"}}
        - name: file
          copy: {dest: "{{ here }}/out", content: "{{ kept }}"}
        """,
        variables={"here": str(bench.folder)},
    )
    assert record.message("shown") == [evil, evil, f"x{evil}", evil]
    assert record.message("looped") == evil
    assert record.message("theirs") == evil
    assert (bench.folder / "out").read_text() == evil
    assert ("condition", "ignored") in record.statuses()
    assert "leaked" not in repr(record.events)


def test_a_password_that_looks_like_a_template(bench: Workbench) -> None:
    from provisioner.secrets import Secret

    record = bench.run(
        "- {name: said, debug: {msg: '{{ password | length }}'}}",
        variables={"password": Secret("pa{{ss}}{% word")},
    )
    assert record.message("said") == 15


def test_hostvars(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - {command: "echo {{ inventory_hostname }}", register: said}
            - {name: own, debug: {msg: "{{ hostvars[inventory_hostname].said.stdout }}"}}
        - hosts: w2
          tasks:
            - name: other
              debug:
                msg:
                  - "{{ hostvars['w1'].said.stdout }} {{ hostvars.w1.greeting }}"
                  - "{{ hostvars['w1'].ansible_facts.hostname == ansible_hostname }}"
                  - "{{ hostvars['w1'].nothing | default('none') }} {{ hostvars | length }}"
                  - "{{ groups['workers'] | map('extract_port') | list }}"
        """.replace("{{ groups['workers'] | map('extract_port') | list }}", "{{ groups.all }}"),
        hosts=("w1", "w2"),
        variables={"greeting": "hello {{ inventory_hostname }}"},
    )
    assert record.message("own", "w2") == "w2"
    assert record.message("other", "w2") == [
        "w1 hello w1",
        True,
        "none 2",
        ["w1", "w2"],
    ]


def test_a_later_fact_does_not_change_how_an_earlier_task_is_judged(bench: Workbench) -> None:
    record = bench.run(
        """
        - {set_fact: {n: 1}}
        - {name: judged, command: sleep 0.2, changed_when: n == 1}
        - {set_fact: {n: 2}}
        """
    )
    assert ("judged", "changed") in record.statuses()


def test_facts(bench: Workbench) -> None:
    record = bench.run(
        """
        - name: facts
          debug: {msg: "{{ ansible_facts.os_family == ansible_os_family }}"}
        - name: guarded
          debug: {msg: "{{ ansible_facts['nothing'] | default('none') }}"}
        """
    )
    assert (record.message("facts"), record.message("guarded")) == (True, "none")


def test_templates_are_files_of_the_role_and_say_where_they_are_wrong(bench: Workbench) -> None:
    bench.write("roles/r/templates/a.j2", "{% for n in [1, 2] %}\n{{ n }} {{ word }}\n{% endfor %}")
    bench.write("roles/r/templates/b.j2", "one\n{{ said.nothing.at_all }}\n")
    bench.write(
        "roles/r/tasks/main.yaml",
        """
        - {command: echo, register: said}
        - {name: good, template: {src: a.j2, dest: "{{ here }}/a"}}
        - {name: bad, template: {src: b.j2, dest: "{{ here }}/b"}}
        """,
    )
    record = bench.run(
        "- {hosts: workers, roles: [r], vars: {word: x}}", variables={"here": str(bench.folder)}
    )
    assert (bench.folder / "a").read_text() == "1 x\n2 x\n"
    assert record.result("bad")["msg"].startswith("b.j2:2: ")


def test_files_of_variables_by_host(bench: Workbench) -> None:
    for host in ("w1", "w2"):
        bench.write(f"vars/{host}.yaml", f"word: of {host}\n")
    record = bench.run(
        """
        - hosts: workers
          vars: {word: play}
          vars_files: ["vars/{{ inventory_hostname }}.yaml"]
          tasks:
            - {name: says, debug: {msg: "{{ word }} {{ none.at.all | default('deep') }}"}}
        """,
        hosts=("w1", "w2", "w3"),
    )
    assert [record.message("says", host) for host in ("w1", "w2")] == ["of w1 deep", "of w2 deep"]
    assert "no such file" in record.summary("w3").reason


def test_variables_of_a_block_around_an_include_are_weaker_than_those_inside(
    bench: Workbench,
) -> None:
    bench.write("read.yaml", "- {name: says, debug: {msg: '{{ a }} {{ b }}'}, vars: {a: task}}")
    record = bench.run(
        """
        - vars: {a: block, b: block}
          block:
            - {include_tasks: read.yaml, vars: {b: include}}
        """
    )
    assert record.message("says") == "task include"


def test_a_handler_of_a_role_that_is_used_twice_listens_once(bench: Workbench) -> None:
    bench.write("roles/web/tasks/main.yaml", "- {command: 'true', notify: a topic}")
    bench.write(
        "roles/web/handlers/main.yaml", "- {name: tell, listen: a topic, debug: {msg: '{{ n }}'}}"
    )
    record = bench.run("- {hosts: workers, roles: [{role: web, n: 1}, {role: web, n: 2}]}")
    assert [event.result["msg"] for event in record.tasks if event.task == "tell"] == [2]


def test_what_jinja_is_lazy_about_is_a_list_in_a_text(bench: Workbench) -> None:
    bench.write("a.txt", "one")
    bench.write("b.txt", "two")
    record = bench.run(
        """
        - name: says
          debug:
            msg: "x {{ [1, 1] | unique }} {{ {'k': 1}.keys() }} {{ {'k': [2] | map('int')} }}"
        - name: combined
          debug: {msg: "{{ [{'a': 1}, {'b': 2}] | combine }}"}
        - name: both
          debug: {msg: "{{ lookup('file', 'a.txt', 'b.txt') }}"}
        """
    )
    assert record.message("says") == "x [1] ['k'] {'k': [2]}"
    assert record.message("combined") == {"a": 1, "b": 2}
    assert record.message("both") == "one,two"
