"""Connections to many hosts are made side by side, from one reading of ssh_config."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from provisioner.inventory import Host
from provisioner.ssh import connect


def test_connections_made_side_by_side_do_not_disturb_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    hosts = [Host(name=f"h{number}", address=f"192.0.2.{number % 250}") for number in range(400)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(8) as threads:
            made = list(threads.map(connect.connection_to, hosts))
    finally:
        sys.setswitchinterval(interval)
    assert [connection.host for connection in made] == [host.address for host in hosts]
