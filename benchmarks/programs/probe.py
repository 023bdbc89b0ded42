"""Runs a playbook by b9prov in this process and tells what it cost and what it left.

    probe.py RESULT play|load PLAYBOOK INVENTORY

`load` does all that `b9prov play` does before it turns to the hosts, and nothing after that.
RESULT gets a JSON object: `code`; `seconds` from the first to the last; `cpu` in seconds and `mib`
at the most, of the whole process;
`threads` and `files` that are there afterwards and were not before.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import threading
import time
from pathlib import Path

SETTLE = 15.0  # seconds that threads which were told to end have for it


def main() -> None:
    """Run it and write the result."""
    result, what, playbook, inventory = sys.argv[1:]
    files, started = _files(), time.monotonic()
    code = _play(playbook, inventory) if what == "play" else _load(playbook, inventory)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    figures = {
        "code": code,
        "seconds": time.monotonic() - started,
        "cpu": usage.ru_utime + usage.ru_stime,
        "mib": _peak_mib(),
        "threads": _threads_left(),
        "files": _files() - files,
    }
    Path(result).write_text(json.dumps(figures))


def _play(playbook: str, inventory: str) -> int:
    from provisioner.cli.main import program

    try:
        program.main(args=["play", playbook, "-i", inventory], prog_name="b9prov")
    except SystemExit as end:
        return int(end.code or 0)


def _load(playbook: str, inventory: str) -> int:
    from provisioner.cli.options import Request
    from provisioner.cli.session import open_session

    open_session(Request(inventory=Path(inventory)), Path(playbook), {})
    return 0


def _files() -> int:
    return len(os.listdir("/proc/self/fd"))


def _peak_mib() -> float:
    """The process's own peak: rusage would count that of the one which started it."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _threads_left() -> int:
    """Threads beside the main one, once they had time to end."""
    give_up = time.monotonic() + SETTLE
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(max(0.0, give_up - time.monotonic()))
    return threading.active_count() - 1


if __name__ == "__main__":
    main()
