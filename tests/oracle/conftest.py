"""Both programs on equal hosts of one lab; each playbook's runs are awaited by its own test."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest
from harness import ansible_core, packages
from harness.corpus import load_corpus
from harness.hosts import prepare
from harness.lanes import Lane, Results, shared_out
from harness.server import serving
from harness.sides import AnsibleCore, B9prov, Side

from provisioner.lab import Host, Lab, check_machine, lab_down, lab_up

# Hosts of a side in each lane: most playbooks need one, those of the second lane up to three.
LANES = (1, 3)
LAB_NAME = os.environ.get("B9_TEST_LAB", "oracle")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """As many new hosts as both sides need."""
    if missing := check_machine():
        pytest.skip("; ".join(missing))
    with open(f"/run/lock/b9prov-{LAB_NAME}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip(f"another test run uses the lab {LAB_NAME}: set B9_TEST_LAB to a free name")
        lab_down(LAB_NAME)
        try:
            yield lab_up(LAB_NAME, 2 * sum(LANES), progress=print)
        finally:
            lab_down(LAB_NAME)


@pytest.fixture(scope="session")
def results(
    request: pytest.FixtureRequest, lab: Lab, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Results]:
    """The runs of all chosen playbooks by both sides, begun; each comes as it is done."""
    if reason := ansible_core.why_not():
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("oracle")
    chosen = {item.callspec.params.get("entry") for item in _parametrized(request)}
    entries = [entry for entry in load_corpus() if entry in chosen]
    theirs: list[Lane] = []
    ours: list[Lane] = []
    with ExitStack() as stack:
        url = stack.enter_context(serving(lab.network.controller, _served(folder)))
        shares = shared_out(entries, LANES)
        for side in _sides(lab, folder):
            stack.callback(side.close)
            lanes = theirs if isinstance(side, AnsibleCore) else ours
            lanes.append(Lane(side, shares[len(lanes)], side.folder / "playbooks", url))
        for lane in (*theirs, *ours):
            stack.callback(lane.stopped.set)
            lane.thread.start()
        yield {
            name: (outcome, own.outcomes[name])
            for lane, own in zip(theirs, ours, strict=True)
            for name, outcome in lane.outcomes.items()
        }


def _parametrized(request: pytest.FixtureRequest) -> list[pytest.Item]:
    return [item for item in request.session.items if hasattr(item, "callspec")]


def _sides(lab: Lab, folder: Path) -> Iterator[Side]:
    """Two for each lane, their hosts prepared."""
    installed = ansible_core.ensure()
    needed = packages.ensure_needed(lab.rootfs)
    repository = folder / "debs"
    packages.build_repository(repository)
    groups = _host_groups(lab)
    with ThreadPoolExecutor() as pool:
        pairs = [pair for group in groups for pair in group.items()]
        done = [pool.submit(prepare, host, name, needed, repository) for name, host in pairs]
        for each in done:
            each.result()
    for number, hosts in enumerate(groups):
        own = folder / f"side-{number}"
        if number % 2 == 0:
            yield AnsibleCore(hosts, own, installed)
        else:
            yield B9prov(hosts, own, lab.identity_file)


def _host_groups(lab: Lab) -> list[dict[str, Host]]:
    """The hosts of each side, in turn theirs and ours, named h1, h2, …"""
    free = iter(lab.worker_hosts)
    return [
        {f"h{index}": next(free) for index in range(1, size + 1)}
        for size in LANES
        for _ in ("theirs", "ours")
    ]


def _served(folder: Path) -> Path:
    files = folder / "served"
    files.mkdir()
    (files / "hello.txt").write_text("hello from the server\n")
    (files / "data.json").write_text('{"a": 1}\n')
    return files
