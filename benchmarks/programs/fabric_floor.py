"""The prepared scripts over one exec channel of a Fabric connection per host, all at once.

    fabric_floor.py JOB

JOB is a JSON file: a list of `{address, port, user, identity, known_hosts, script}`.
"""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko
from fabric import Config, Connection

COMMAND = "sudo python3 -I -"


def run(job: dict[str, Any]) -> None:
    """Run one host's script; SystemExit with its last words when it fails."""
    connection = Connection(
        job["address"],
        user=job["user"],
        port=job["port"],
        config=Config(lazy=True),
        connect_kwargs={
            "key_filename": job["identity"],
            "look_for_keys": False,
            "allow_agent": False,
        },
    )
    connection.client.load_host_keys(job["known_hosts"])
    connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
    connection.open()
    channel = connection.transport.open_session()
    channel.set_combine_stderr(True)
    channel.exec_command(COMMAND)
    channel.sendall(Path(job["script"]).read_bytes())
    channel.shutdown_write()
    output = b"".join(iter(lambda: channel.recv(65536), b""))
    if channel.recv_exit_status():
        raise SystemExit(f"{job['address']}: {output[-2000:].decode(errors='replace')}")
    connection.close()


def main() -> None:
    """Run all scripts."""
    jobs = json.loads(Path(sys.argv[1]).read_text())
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(run, jobs))


if __name__ == "__main__":
    main()
