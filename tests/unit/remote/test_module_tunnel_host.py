"""What `tunnel_host` makes of sshd's configuration; on real hosts in tests/hosts."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from provisioner.remote.modules.tunnel_host import Look, Settings, includes, kept_out, wanted

DROP_IN = "/etc/ssh/sshd_config.d/50-b9prov.conf"


@pytest.mark.parametrize(
    ("effective", "reason"),
    [
        ({}, ""),
        ({"allowusers": ["root", "admin"]}, "AllowUsers is root admin"),
        ({"allowusers": ["root", "b9*"]}, ""),
        ({"allowusers": ["b9tunnel@10.0.0.0/8"]}, ""),
        ({"allowusers": ["*", "!b9tunnel"]}, "AllowUsers is * !b9tunnel"),
        ({"denyusers": ["eve", "b9tunnel"]}, "DenyUsers is eve b9tunnel"),
        ({"denyusers": ["b9tunnel@*"]}, "DenyUsers is b9tunnel@*"),
        ({"denyusers": ["b9tunnel@192.0.2.1"]}, ""),
        ({"allowgroups": ["wheel"]}, "AllowGroups is wheel"),
        ({"allowgroups": ["wheel", "tunnels"]}, ""),
        ({"denygroups": ["tun*"]}, "DenyGroups is tun*"),
    ],
)
def test_who_is_kept_out(effective: Settings, reason: str) -> None:
    found = kept_out("b9tunnel", ["b9tunnel", "tunnels"], effective)
    assert found == ([reason] if reason else [])


@pytest.mark.parametrize(
    ("config", "read"),
    [
        ("Include /etc/ssh/sshd_config.d/*.conf\nPort 22\n", True),
        (f"Port 22\ninclude {DROP_IN}\n", True),
        ("Port 22\n", False),
        ("# Include /etc/ssh/sshd_config.d/*.conf\n", False),
        ("Include /etc/ssh/other.d/*.conf\n", False),
        ("Match User ann\nX11Forwarding no\nMatch all\nInclude /etc/ssh/sshd_config.d/*\n", True),
        ("Match User ann\nInclude /etc/ssh/sshd_config.d/*.conf\n", False),
    ],
)
def test_which_configurations_read_the_drop_in(tmp_path: Path, config: str, read: bool) -> None:
    path = tmp_path / "sshd_config"
    path.write_text(config)
    assert includes(path, DROP_IN) is read


def test_a_relative_include_is_beside_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "sshd_config"
    path.write_text("Include sshd_config.d/*.conf\n")
    assert includes(path, str(tmp_path / "sshd_config.d" / "50-b9prov.conf"))


def test_what_a_drop_in_wants_is_in_the_words_of_sshd() -> None:
    text = "# why\nMatch User b9tunnel\n    # why\n    PermitTTY no\n\tPermitOpen any\nMatch all\n"
    assert wanted(text) == {"permittty": "no", "permitopen": "any"}


def test_who_listens_at_all_addresses_is_told_of() -> None:
    with socket.create_server(("0.0.0.0", 0)) as server:
        look = Look({"port": server.getsockname()[1]} | {"user": "nobody"})
        look.at_port()
    (refusal,) = look.refusals
    assert f"(pid {os.getpid()}" in refusal and "of all addresses" in refusal


def test_who_listens_at_one_address_is_nobodys_concern() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        look = Look({"port": server.getsockname()[1]} | {"user": "nobody"})
        look.at_port()
    assert look.refusals == []
