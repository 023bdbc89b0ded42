"""Hosts spread over a real Dask cluster, one of whose worker processes is killed on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from distributed import Client
from driver import Driver, Ran, tail

LIMIT = 60.0  # seconds for the cluster to be there


@pytest.fixture
def cluster(driver: Driver, tmp_path: Path) -> Iterator[str]:
    """The address of a scheduler with two worker processes."""
    env = {**os.environ, **driver.env, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    dask = [sys.executable, "-m", "distributed.cli.dask_scheduler"]
    scheduler_file = tmp_path / "scheduler.json"
    common = ["--scheduler-file", str(scheduler_file)]
    local = ["--host", "127.0.0.1"]
    started = [
        subprocess.Popen(
            [*dask, *common, *local, "--port", "0", "--no-dashboard"],
            env=env,
            stderr=subprocess.DEVNULL,
        )
    ]
    worker = [sys.executable, "-m", "distributed.cli.dask_worker", *common, *local]
    alone = ["--nthreads", "1", "--no-nanny", "--no-dashboard"]
    started += [
        subprocess.Popen([*worker, *alone], env=env, stderr=subprocess.DEVNULL) for _ in range(2)
    ]
    try:
        with Client(scheduler_file=str(scheduler_file), timeout=LIMIT) as client:
            client.wait_for_workers(2, timeout=LIMIT)
            yield str(client.scheduler.address).replace("tcp://", "dask://")
    finally:
        for process in started:
            process.kill()
            process.wait()


def test_a_cluster_brings_workers_up_and_a_killed_process_loses_none(
    driver: Driver, cluster: str, tmp_path: Path
) -> None:
    hosts = [host.name for host in driver.lab.worker_hosts]
    playbook = tmp_path / "slow.yaml"
    playbook.write_text(
        "- hosts: workers\n  become: true\n  tasks:\n"
        "    - {name: begin, command: mkdir -p /var/tmp/spread}\n"
        "    - {name: slow, command: sleep 2}\n"
        "    - {name: leave, copy: {content: 'here', dest: /var/tmp/spread/left}}\n"
    )
    killed = threading.Event()

    def kill_one() -> None:
        """Kill a worker process of the cluster once it is busy with a host."""
        with Client(cluster.replace("dask://", "tcp://"), timeout=LIMIT) as client:
            while not killed.is_set():
                for address, tasks in client.processing().items():
                    if tasks:
                        pids = client.run(os.getpid, workers=[address])
                        os.kill(pids[address], signal.SIGKILL)
                        killed.set()
                        return
                killed.wait(0.1)

    killer = threading.Thread(target=kill_one)
    killer.start()
    ran = play(driver, playbook, "--executor", cluster)
    was_killed = killed.is_set()
    killed.set()
    killer.join()
    assert was_killed
    assert ran.code == 0, tail(ran)
    assert set(ran.summary) == set(hosts)
    for host in driver.lab.worker_hosts:
        assert ran.end(host.name)["end"] == "well"
        assert host.exec(["cat", "/var/tmp/spread/left"]).stdout == "here"
        assert ran.of("task_finished", host=host.name, task="leave")


def test_up_on_a_cluster_and_again(driver: Driver, cluster: str) -> None:
    driver.lab.reset_all()
    driver.up("--executor", cluster)
    again = driver.up("--executor", cluster)
    assert set(again.changed().values()) == {0}, tail(again)


def test_what_can_not_be_spread(driver: Driver, tmp_path: Path) -> None:
    playbook = tmp_path / "together.yaml"
    playbook.write_text("- {hosts: workers, serial: 1, tasks: [{ping: }]}\n")
    ran = play(driver, playbook, "--executor", "dask://127.0.0.1:1")
    assert ran.code == 2 and "serial needs all hosts in one place" in ran.err
    playbook.write_text("- {hosts: workers, tasks: [{ping: }]}\n")
    ran = play(driver, playbook, "--executor", "nowhere")
    assert ran.code == 2 and "no address of a cluster" in ran.err


def test_a_shard_is_its_part_of_the_hosts(driver: Driver, tmp_path: Path) -> None:
    playbook = tmp_path / "ping.yaml"
    playbook.write_text("- {hosts: workers, tasks: [{ping: }]}\n")
    names = [host.name for host in driver.lab.worker_hosts]
    parts = [list(play(driver, playbook, "--shard", f"{part}/2").summary) for part in (1, 2)]
    assert parts == [names[0::2], names[1::2]]
    assert play(driver, playbook, "--shard", "3/2").code == 2


def play(driver: Driver, playbook: Path, *words: str) -> Ran:
    """`b9prov play` of this playbook on the lab's workers, ended."""
    return driver.run("play", "-i", str(driver.inventory()), *words, inventory=playbook)
