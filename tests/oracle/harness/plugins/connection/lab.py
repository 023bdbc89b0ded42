"""Ansible's way into a lab host: a shell of the login user there, without the cost of SSH.

Each command starts as sshd would start it: same user, folder and environment.
"""

from __future__ import annotations

import shlex
import subprocess

from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible.plugins.connection.local import Connection as LocalConnection

DOCUMENTATION = """
    name: lab
    short_description: a lab host, entered through its process 1
    description: [A shell of the login user in a lab host.]
    extends_documentation_fragment: [connection_pipelining]
    options:
        become_success_timeout: {type: int, default: 10, description: [as for local]}
        become_strip_preamble: {type: bool, default: true, description: [as for local]}
        leader:
            description: [The host's process 1 as this machine sees it; 0 for no answer.]
            type: int
            vars: [{name: oracle_leader}]
        remote_user:
            description: [The login user.]
            vars: [{name: ansible_user}]
"""

_NAMESPACES = ("--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/games"


class Connection(LocalConnection):
    """Runs commands in the host's namespaces."""

    transport = "lab"

    def _connect(self) -> Connection:
        if not self.get_option("leader"):
            raise AnsibleConnectionFailure("no route to host")
        self.default_user = self.get_option("remote_user")
        super()._connect()
        return self

    def _enter(self) -> list[str]:
        user, leader = self.get_option("remote_user"), self.get_option("leader")
        home = f"/home/{user}"
        environment = [f"HOME={home}", f"USER={user}", f"LOGNAME={user}", f"PATH={_PATH}"]
        return [
            *("nsenter", f"--target={leader}", *_NAMESPACES, "--"),
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--"),
            *("env", "-i", f"--chdir={home}", "SHELL=/bin/bash", "LANG=C.UTF-8", *environment),
        ]

    def exec_command(
        self, cmd: str, in_data: bytes | None = None, sudoable: bool = True
    ) -> tuple[int, bytes, bytes]:
        """Run a shell command."""
        entered = shlex.join([*self._enter(), "/bin/sh", "-c", cmd])
        result: tuple[int, bytes, bytes] = super().exec_command(entered, in_data, sudoable)
        return result

    def put_file(self, in_path: str, out_path: str) -> None:
        """Copy a file to the host."""
        with open(in_path, "rb") as source:
            self._cat(f"cat >{shlex.quote(out_path)}", stdin=source)

    def fetch_file(self, in_path: str, out_path: str) -> None:
        """Copy a file from the host."""
        with open(out_path, "wb") as dest:
            self._cat(f"cat <{shlex.quote(in_path)}", stdin=subprocess.DEVNULL, stdout=dest)

    def _cat(self, script: str, **streams: object) -> None:
        argv = [*self._enter(), "/bin/sh", "-c", script]
        done = subprocess.run(argv, stderr=subprocess.PIPE, **streams)  # type: ignore[call-overload]
        if done.returncode != 0:
            raise AnsibleError(f"{script}: {done.stderr.decode(errors='replace')}")
