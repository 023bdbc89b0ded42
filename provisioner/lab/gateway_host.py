"""The reference gateway as a service of the lab's gateway host."""

from __future__ import annotations

from pathlib import Path

from provisioner.lab.host import Host
from provisioner.lab.machine import LabError, write_file
from provisioner.lab.network import wait_listening

API_PORT = 31994
_PROGRAM = "/opt/reference-gateway/reference_gateway.py"
_TOKEN = "/etc/reference-gateway/admin_token"  # noqa: S105 — a path
_UNIT = "/etc/systemd/system/reference-gateway.service"
_SOURCE = Path(__file__).with_name("reference_gateway.py")
_START_SECONDS = 20.0
# On all addresses, as a NodePort is.
_UNIT_TEXT = """\
[Unit]
Description=Reference gateway of the lab
After=network.target

[Service]
ExecStart=/usr/bin/python3 {program} --bind 0.0.0.0 --port {port} \\
    --state /var/lib/reference-gateway/state.json --admin-token-file {token} --pool {pool}
StateDirectory=reference-gateway
Restart=always
RestartSec=1

[Install]
WantedBy=multi-user.target
"""


def write_gateway(host: Host, admin_token: str, pool: str) -> bool:
    """Write the gateway's files into the host; whether any of them changed."""
    unit = _UNIT_TEXT.format(program=_PROGRAM, port=API_PORT, token=_TOKEN, pool=pool)
    changes = [
        _write(host.path(_PROGRAM), _SOURCE.read_text(), 0o755),
        _write(host.path(_TOKEN), f"{admin_token}\n", 0o600),
        _write(host.path(_UNIT), unit, 0o644),
    ]
    link = host.path(f"/etc/systemd/system/multi-user.target.wants/{Path(_UNIT).name}")
    if not link.is_symlink():
        link.symlink_to(_UNIT)
    return any(changes)


def restart_gateway(host: Host) -> None:
    """Have a running host take up changed files."""
    done = host.exec(["sh", "-c", "systemctl daemon-reload && systemctl restart reference-gateway"])
    if done.returncode != 0:
        raise LabError(f"the reference gateway does not restart: {done.stderr.strip()}")


def wait_gateway(host: Host) -> None:
    """Wait until the gateway's API takes connections."""
    if not wait_listening(host.address, API_PORT, seconds=_START_SECONDS):
        journal = host.exec(["journalctl", "-u", "reference-gateway", "-n", "3", "-o", "cat"])
        raise LabError(f"the reference gateway does not answer: {journal.stdout.strip()}")


def _write(path: Path, text: str, mode: int) -> bool:
    if path.exists() and path.read_text() == text:
        return False
    write_file(path, text, mode)
    return True
