"""A play on several hosts."""

from __future__ import annotations

from engine_harness import Workbench


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
