"""A command-line program, loaded once and forked for each run: most of a short run is imports.

Started as `python loaded.py ansible|b9prov`. Each line of stdin asks for a run: `argv`, `cwd`,
`env`, the files for `stdout` and `stderr`, and `seconds`. Each line of stdout answers with `code`,
null when the run was killed because its time was over.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Any, NoReturn

Program = Callable[[list[str]], None]


def ansible() -> Program:
    """`ansible-playbook`, with what every run would load."""
    import ansible.executor.process.worker
    import ansible.executor.task_queue_manager  # noqa: F401
    from ansible.cli.playbook import main
    from ansible.plugins import loader

    loader.init_plugin_loader()
    importlib.import_module("ansible_collections.ansible.builtin")
    for each in (loader.become_loader, loader.connection_loader, loader.shell_loader):
        list(each.all(class_only=True))
    for name in ("normal", "copy", "template", "debug", "set_fact", "command"):
        loader.action_loader.get(name, class_only=True)
    loader.strategy_loader.get("linear", class_only=True)
    return main


def b9prov() -> Program:
    """`b9prov`."""
    import provisioner.cli.play
    import provisioner.report.json
    import provisioner.ssh.connect  # noqa: F401
    from provisioner.cli.main import main

    def program(argv: list[str]) -> None:
        sys.argv[1:] = argv[1:]
        main()

    return program


def serve(program: Program) -> None:
    """Answer requests until stdin ends."""
    gc.freeze()  # or each child would copy what it only counts
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _run(program, request)
        print(json.dumps({"code": _await(pid, request["seconds"])}), flush=True)


def _await(pid: int, seconds: float) -> int | None:
    """The exit code; a run that takes too long is killed with all its children."""
    child = os.pidfd_open(pid)
    try:
        in_time = select.select([child], [], [], seconds)[0]
        if not in_time:
            os.killpg(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
    finally:
        os.close(child)
    return os.waitstatus_to_exitcode(status) if in_time else None


def _run(program: Program, request: dict[str, Any]) -> NoReturn:
    os.setsid()
    for number, name, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
        (2, request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(name, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.umask(0o022)
    os.environ.update(request["env"])
    code = 1
    try:
        program(request["argv"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve({"ansible": ansible, "b9prov": b9prov}[sys.argv[1]]())
