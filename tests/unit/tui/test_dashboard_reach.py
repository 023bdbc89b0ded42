"""Why a channel to an agent can't be had; that it carries is seen on lab hosts (tests/hosts)."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import paramiko
import pytest

from provisioner.agent.tui.client import Trouble
from provisioner.dashboard.reach import Reach, dial
from provisioner.inventory import Host


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (paramiko.ChannelException(1, "Administratively prohibited"), "AllowTcpForwarding"),
        (paramiko.ChannelException(2, "Connect failed"), "is b9agent running"),
        (paramiko.SSHException("SSH session not active"), "SSH session not active"),
        (EOFError(), "EOFError"),
    ],
)
def test_why_not(problem: Exception, said: str) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise problem

    connection: Any = SimpleNamespace(transport=SimpleNamespace(open_channel=refuse))
    with pytest.raises(OSError, match=said):
        dial(connection, 9999, 1.0)


def test_where_there_is_no_control_api_nobody_is_called() -> None:
    host = Host("w1", "192.0.2.1", variables={"agent": {"control_port": 0}})
    with pytest.raises(Trouble, match="is off"):
        Reach("strict", 1).way(host)
