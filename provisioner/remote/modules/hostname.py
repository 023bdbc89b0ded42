"""This host's name, by systemd. Ansible's `hostname`: name."""

from __future__ import annotations

from typing import Any

from provisioner.remote import facts, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("str", required=True),
    "use": Argument("str", choices=("systemd", "debian")),
}
TIMEOUT = 30


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Give this host its name, now and for good."""
    name = arguments["name"]
    current = _hostnamectl("--transient", "status")
    permanent = _hostnamectl("--static", "status")
    if not context.check:
        # the permanent one first: NetworkManager would complain about the other order
        if permanent != name:
            _set("--pretty", "--static", name=name)
        if current != name:
            _set("--transient", name=name)
    fqdn = str(facts.gather().get("ansible_fqdn", ""))
    result: Result = {
        "changed": {current, permanent} != {name},
        "name": name,
        "ansible_facts": {
            "ansible_hostname": name.split(".")[0],
            "ansible_nodename": name,
            "ansible_fqdn": fqdn,
            "ansible_domain": fqdn.partition(".")[2],
        },
    }
    if context.diff and result["changed"]:
        before = current if current != name else permanent
        result["diff"] = {
            "before": f"hostname = {before}\n",
            "after": f"hostname = {name}\n",
            "path": "hostname",
        }
    return result


def _set(*which: str, name: str) -> None:
    if len(name) > 64:
        raise ModuleFailed(
            "name cannot be longer than 64 characters on systemd servers, try a shorter name"
        )
    _hostnamectl(*which, "set-hostname", name)


def _hostnamectl(*words: str) -> str:
    outcome = process.run(["hostnamectl", *words], timeout=TIMEOUT)
    if outcome.rc != 0:
        raise ModuleFailed(
            f"Command failed rc={outcome.rc}, out={outcome.stdout}, err={outcome.stderr}",
            rc=outcome.rc,
        )
    return outcome.stdout.strip()
