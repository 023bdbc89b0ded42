"""Real Debian hosts for the tests: a lab of their own, taken down at the end."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from driver import Driver

from provisioner.lab import Host, Lab, artifacts_dir, check_machine, lab_down, lab_up
from provisioner.lab.artifacts import build_standins

WORKERS = 3
# Two test runs at the same time on one machine need two names.
LAB_NAME = os.environ.get("B9_TEST_LAB", "test")


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A gateway host and three workers, as new."""
    if missing := check_machine():
        pytest.skip("; ".join(missing))
    with open(f"/run/lock/b9prov-{LAB_NAME}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            pytest.skip(f"another test run uses the lab {LAB_NAME}: set B9_TEST_LAB to a free name")
        lab_down(LAB_NAME)
        build_standins(artifacts_dir())
        try:
            yield lab_up(LAB_NAME, WORKERS, progress=print)
        finally:
            lab_down(LAB_NAME)


@pytest.fixture
def fresh_worker(lab: Lab) -> Host:
    """The worker w1 as a new host; its address and host key are those of before."""
    worker = lab.host("w1")
    lab.reset(worker)
    return worker


@pytest.fixture
def fresh_lab(lab: Lab) -> Lab:
    """The lab with all its hosts as new ones."""
    lab.reset_all()
    return lab


@pytest.fixture
def controller_env(tmp_path: Path) -> dict[str, str]:
    """The environment for a `b9prov` process: no terminal, no ssh agent, records in `tmp_path`."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SSH_", "B9_", "FORCE_"))}
    return {**kept, "XDG_STATE_HOME": str(tmp_path / "state"), "TERM": "dumb", "NO_COLOR": "1"}


@pytest.fixture(scope="module")
def driver(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Driver:
    """A controller with a home of its own, without anything known of any host."""
    return Driver(lab, tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def ready(driver: Driver) -> Driver:
    """All workers are as `up` leaves new hosts; tests leave them so."""
    driver.lab.reset_all()
    driver.up()
    return driver
