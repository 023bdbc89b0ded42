"""Operations go out ahead of results, failures drop what was sent ahead, and no wait is endless."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import pytest
from engine_harness import Workbench

from provisioner.engine.events import HostUnreachable, TaskFinished, TaskStarted
from provisioner.ssh.connect import Unreachable
from provisioner.ssh.conversation import Conversation, Operation, Reply


class HeldBack:
    """A conversation from which nothing comes back until somebody waits for it.

    Then everything that was sent so far comes back at once: each wait is one round trip.
    """

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.facts = conversation.facts
        self.close = conversation.close
        self.log: list[str] = []
        self.round_trips = 1  # the greeting
        self._held: list[_HeldFuture] = []

    def submit(self, operation: Operation) -> Future[Reply]:
        words = operation.arguments
        self.log.append(f"sent {words.get('cmd', operation.module)}")
        held = _HeldFuture(self, operation, self.conversation.submit(operation))
        self._held.append(held)
        return held

    def round_trip(self) -> None:
        self.round_trips += 1
        self.log.append("waited")
        for held in self._held:
            held.release()
        self._held.clear()


class _HeldFuture(Future[Reply]):
    def __init__(self, owner: HeldBack, operation: Operation, real: Future[Reply]) -> None:
        super().__init__()
        self._owner, self._real = owner, real

    def release(self) -> None:
        error = self._real.exception()
        if error:
            self.set_exception(error)
        else:
            self.set_result(self._real.result())

    def result(self, timeout: float | None = None) -> Reply:
        if not self.done():
            self._owner.round_trip()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        if not self.done():
            self._owner.round_trip()
        return super().exception(timeout)


def held_back(bench: Workbench) -> dict[str, HeldBack]:
    """Have the runs of `bench` use such conversations; they are in the result by host."""
    made: dict[str, HeldBack] = {}
    bench.wrap = lambda host, conversation: made.setdefault(host, HeldBack(conversation))
    return made


def test_a_play_of_thirty_tasks_costs_two_round_trips(bench: Workbench) -> None:
    tasks = "".join(
        f"""
        - name: task {number}
          copy: {{dest: "{{{{ here }}}}/{number}", content: "x"}}
          register: r{number}
          when: ansible_os_family is defined
          notify: never
        """
        for number in range(10)
    )
    tasks += "".join(
        f"""
        - {{name: said {number}, debug: {{msg: "{{{{ here }}}}"}}}}
        - {{name: fact {number}, set_fact: {{f{number}: "{{{{ here }}}}"}}}}
        - {{name: sure {number}, assert: {{that: f{number} == here}}}}
        - name: file {number}
          file: {{path: "{{{{ f{number} }}}}/d", state: directory}}
        """
        for number in range(5)
    )
    for number in range(10):
        bench.write(str(number), "x")
    (bench.folder / "d").mkdir()
    talks = held_back(bench)
    play = bench.tasks(tasks) + "  handlers: [{name: never, debug: {msg: x}}]\n"
    record = bench.run(play, hosts=("w1", "w2"), variables={"here": str(bench.folder)})
    assert [record.summary(host).ok for host in ("w1", "w2")] == [30, 30]
    assert {host: talk.round_trips for host, talk in talks.items()} == {"w1": 2, "w2": 2}


def test_only_a_task_that_reads_a_result_waits_for_it(bench: Workbench) -> None:
    talks = held_back(bench)
    bench.run(
        """
        - {command: echo one, register: first}
        - {command: echo two, register: second}
        - {command: "echo three {{ first.stdout }}"}
        - {command: echo four}
        - {command: echo five, when: second is changed}
        - {command: echo six, changed_when: "'x' in first.stdout"}
        - {command: echo seven, register: last, failed_when: last.rc != 0}
        - {command: echo eight}
        """
    )
    assert talks["w1"].log == [
        *("sent echo one", "sent echo two", "waited"),
        *("sent echo three one", "sent echo four", "sent echo five", "sent echo six"),
        *("sent echo seven", "waited"),
        *("sent echo eight", "waited"),
    ]


def test_events_come_in_the_order_of_the_tasks(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: slow, command: sleep 0.3}
        - {name: at once, debug: {msg: x}}
        - {name: skipped, command: echo, when: false}
        - {name: quick, command: echo}
        """
    )
    finished = [event.task for event in record.events if isinstance(event, TaskFinished)]
    assert finished == ["slow", "at once", "skipped", "quick"]
    started = [event.task for event in record.events if isinstance(event, TaskStarted)]
    assert started == ["slow", "quick"]


def test_a_failure_drops_what_was_sent_ahead(bench: Workbench) -> None:
    record = bench.run(
        """
        - hosts: workers
          tasks:
            - {name: fails on w1, command: "{{ 'false' if bad else 'true' }}"}
            - {name: behind, command: "touch {{ here }}/{{ inventory_hostname }}"}
        - hosts: workers
          tasks:
            - {name: next play, debug: {msg: x}}
        """,
        hosts=("w1", "w2"),
        variables={"here": str(bench.folder), "bad": False},
        host_variables={"w1": {"bad": True}},
    )
    assert record.statuses("w1") == [("fails on w1", "failed")]
    assert [status for _, status in record.statuses("w2")] == ["changed", "changed", "ok"]
    assert not (bench.folder / "w1").exists()
    assert (bench.folder / "w2").exists()
    assert (record.summary("w1").failed, record.summary("w2").failed) == (1, 0)


def test_ignored_failures_stop_nothing(bench: Workbench) -> None:
    talks = held_back(bench)
    record = bench.run(
        """
        - {name: bad, command: "false", ignore_errors: true}
        - {name: behind, command: echo}
        """
    )
    assert record.statuses() == [("bad", "ignored"), ("behind", "changed")]
    assert talks["w1"].round_trips == 2


def test_a_delegated_failure_stops_its_own_host_alone(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: before, command: echo}
        - name: on the gateway
          command: sh -c 'exit {{ code }}'
          delegate_to: gateway
          register: there
        - name: after
          command: echo {{ there.rc }}
        - name: there again
          command: echo {{ inventory_hostname }}
          delegate_to: "{{ 'gateway' }}"
        """,
        hosts=("w1", "w2", "w3", "w4"),
        gateway=True,
        variables={"code": 0},
        host_variables={"w2": {"code": 1}},
    )
    assert record.statuses("w2")[-1] == ("on the gateway", "failed")
    for host in ("w1", "w3", "w4"):
        assert [status for _, status in record.statuses(host)] == ["changed"] * 4
        assert record.result("there again", host)["stdout"] == host
    delegated = [event for event in record.tasks if event.delegated_to]
    assert {event.delegated_to for event in delegated} == {"gateway"}


def test_a_host_s_failure_does_not_touch_what_others_have_there(bench: Workbench) -> None:
    """w2 delegates to w1, whose own tasks fail meanwhile."""
    go = bench.folder / "go"
    record = bench.run(
        """
        - name: w1 waits, then fails
          shell: until [ -e {{ go }} ]; do sleep 0.02; done; exit 1
          when: inventory_hostname == 'w1'
        - name: never on w1
          command: touch {{ go }}.trace
          when: inventory_hostname == 'w1'
        - name: let it go
          command: touch {{ go }}
          when: inventory_hostname == 'w2'
        - name: on w1
          command: echo fine
          delegate_to: w1
          when: inventory_hostname == 'w2'
        """,
        hosts=("w1", "w2"),
        variables={"go": str(go)},
    )
    assert record.statuses("w1")[-1] == ("w1 waits, then fails", "failed")
    assert record.statuses("w2")[-1] == ("on w1", "changed")
    assert not go.with_name("go.trace").exists()


def test_results_follow_each_other_over_a_change_of_conversation(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: fails, command: "false"}
        - {name: on the gateway, command: "touch {{ here }}/trace", delegate_to: gateway}
        """,
        gateway=True,
        variables={"here": str(bench.folder)},
    )
    assert record.statuses() == [("fails", "failed")]
    assert not (bench.folder / "trace").exists()


def test_a_host_that_can_t_be_reached(bench: Workbench) -> None:
    bench.refuse["w1"] = Unreachable("nothing answers", "check that it is up")
    record = bench.run("- {name: one, command: echo}", hosts=("w1", "w2"))
    assert (record.summary("w1").unreachable, record.summary("w2").changed) == (True, 1)
    assert HostUnreachable("w1", "nothing answers", "check that it is up") in record.events


def test_a_delegation_target_that_can_t_be_reached_is_named(bench: Workbench) -> None:
    bench.refuse["gateway"] = Unreachable("nothing answers", "check that it is up")
    record = bench.run("- {name: one, ping: , delegate_to: gateway}", gateway=True)
    assert record.summary("w1").reason == "gateway: nothing answers"


def test_a_runner_that_dies_in_the_middle(bench: Workbench) -> None:
    record = bench.run(
        """
        - {name: before, command: echo}
        - name: deadly
          shell: "[ {{ inventory_hostname }} = w2 ] || kill -9 $PPID"
        - {name: after, command: echo}
        """,
        hosts=("w1", "w2"),
    )
    assert record.statuses("w1") == [("before", "changed")]
    summary = record.summary("w1")
    assert summary.unreachable and "the connection was lost" in summary.reason
    assert "same command again" in summary.advice
    assert [status for _, status in record.statuses("w2")] == ["changed"] * 3


def test_a_dead_gateway_runner_is_named(bench: Workbench) -> None:
    record = bench.run("- {name: deadly, shell: kill -9 $PPID, delegate_to: gateway}", gateway=True)
    assert record.summary("w1").reason.startswith("gateway: the connection was lost")


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Ctrl-C is heard as the command hears it, also where pytest was started in the background,
    which leaves SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_the_run_at_once(bench: Workbench) -> None:
    """Within the two seconds that a terminal's user is promised, whatever the hosts are at."""
    begun: list[str] = []
    connecting = threading.Event()

    def interrupt_when_all_are_at_it(event: Any) -> None:
        if isinstance(event, TaskStarted):
            begun.append(event.host)
        if len(begun) == 2 and connecting.wait(20):
            begun.clear()
            os.kill(os.getpid(), signal.SIGINT)

    stuck, through = _stuck(bench, "w3", connecting)
    record = bench.run(
        """
        - {name: quick, command: echo, when: false}
        - {name: long, command: sleep 4}
        - {name: never, command: "touch {{ here }}/trace"}
        """,
        hosts=("w1", "w2", "w3"),
        variables={"here": str(bench.folder)},
        sink=interrupt_when_all_are_at_it,
    )
    stuck.set()
    assert through.wait(20)
    assert record.events[-1] is record.finished
    assert record.finished.interrupted
    assert set(record.finished.unfinished) == {"w1", "w2", "w3"}
    assert record.finished.seconds < 10  # far less than the hosts would have taken
    assert not (bench.folder / "trace").exists()


def _stuck(
    bench: Workbench, host: str, reached: threading.Event
) -> tuple[threading.Event, threading.Event]:
    """Have `host` hang while it is being connected to, until the first event is set; the second
    is set once it has got through."""
    free, through = threading.Event(), threading.Event()
    inner: Callable[[str, Any], Any] = bench.wrap_pipe

    def wait(name: str, pipe: Any) -> Any:
        if name == host:
            reached.set()
            free.wait(20)
        return inner(name, pipe)

    def pass_on(name: str, conversation: Any) -> Any:
        if name == host:
            through.set()
        return conversation

    bench.wrap_pipe, bench.wrap = wait, pass_on
    return free, through


def test_an_error_of_our_own_on_one_host_leaves_the_others(bench: Workbench) -> None:
    class Broken(Conversation):
        def submit(self, operation: Operation) -> Future[Reply]:
            raise ZeroDivisionError("never foreseen")

    def wrap(host: str, conversation: Conversation) -> Any:
        if host == "w1":
            conversation.__class__ = Broken
        return conversation

    bench.wrap = wrap
    record = bench.run("- command: echo one\n- command: echo two", hosts=("w1", "w2"))
    assert record.statuses("w2") == [("command", "changed"), ("command", "changed")]
    assert not record.summary("w1").well
    assert "ZeroDivisionError: never foreseen (test_engine" in record.summary("w1").stopped
    assert record.finished.unfinished == ()


def test_a_host_that_is_done_is_let_go(bench: Workbench) -> None:
    """A fleet needs no more connections than hosts are worked on at once."""
    open_at: dict[str, list[str]] = {}
    talks: dict[str, Conversation] = {}

    class Noting(Conversation):
        def submit(self, operation: Operation) -> Future[Reply]:
            still = [name for name, talk in talks.items() if not talk._closing.is_set()]
            (name,) = (name for name, talk in talks.items() if talk is self)
            open_at[f"{operation.arguments['cmd'].removeprefix('echo ')} {name}"] = still
            return super().submit(operation)

    def wrap(host: str, conversation: Conversation) -> Any:
        conversation.__class__ = Noting
        talks[host] = conversation
        return conversation

    bench.wrap = wrap
    plays = """
        - hosts: all
          tasks: [command: echo first]
        - hosts: all
          tasks:
            - command: echo second
            - {command: echo third, delegate_to: w2, when: inventory_hostname == "w1"}
    """
    bench.run(plays, hosts=("w1", "w2", "w3"), forks=1)
    assert open_at["first w3"] == ["w1", "w2", "w3"]
    assert open_at["second w2"] == ["w2", "w3"]
    # what was lent to another stays
    assert open_at["second w3"] == ["w2", "w3"]
    assert len(bench.opened) == 3
