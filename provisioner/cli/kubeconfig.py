"""`b9prov kubeconfig`."""

from __future__ import annotations

import base64
import socket
import ssl
from pathlib import Path
from typing import Any

import click
import yaml

from provisioner import wholefile
from provisioner.cli.failures import FAILED, INTERRUPTED, say
from provisioner.cli.options import EXTRA_VARS, PATH, Request, host_keys_option
from provisioner.cli.session import Session, open_session
from provisioner.cli.sources import inventory_path, one_host
from provisioner.paths import shipped_playbook
from provisioner.ssh.connect import Unreachable

FACT = "b9_kubeconfig"  # the variable in which the playbook leaves what it found
PORT = 6443
NAME = "localhost"  # which every k3s's certificate has, whatever address it is reached at
_REACH_SECONDS = 5.0


@click.command(short_help="Write a kubeconfig for a worker's k3s.")
@click.argument("words", nargs=-1, required=True, metavar="[INVENTORY] HOST")
@click.option(
    "-o",
    "--out",
    type=PATH,
    metavar="FILE",
    help="Where to write it, for you alone to read; - for stdout. By default: HOST.kubeconfig.",
)
@click.option(
    "--server", metavar="URL", help="Where the k3s is. By default: at the host's address."
)
@EXTRA_VARS
@host_keys_option
def kubeconfig(
    words: tuple[str, ...],
    out: Path | None,
    server: str | None,
    extra_vars: tuple[str, ...],
    host_keys: str,
) -> int:
    """Write an administrator's kubeconfig for the k3s of HOST; kubectl verifies whom it talks to.

    INVENTORY is ./inventory.yaml when it is not given. The k3s is reached at the host's address,
    port 6443; where a firewall or NAT is between, use `b9prov tunnel INVENTORY HOST k3s`.
    """
    if len(words) > 2:
        raise click.UsageError("too many arguments: [INVENTORY] HOST")
    path = inventory_path(Path(words[0]) if len(words) == 2 else None)
    session = kubeconfig_session(path, words[-1], extra_vars, host_keys)
    host = one_host(session.inventory, words[-1])
    document = ask_kubeconfig(session)
    if document is None:
        return INTERRUPTED
    url = server or f"https://{_bracketed(host.address)}:{PORT}"
    text = rewritten(document, url, host.name)
    if str(out) == "-":
        click.echo(text, nl=False)
        return 0
    target = out or Path(f"{host.name}.kubeconfig")
    try:
        wholefile.replace(target, text.encode(), 0o600)
    except OSError as error:
        say(f"error: can't write {target}: {error.strerror}")
        return FAILED
    say(f"{target} is written: kubectl --kubeconfig {target} get nodes")
    if server is None and (problem := _unreached(document, host.address)):
        say(
            f"warning: from here {problem}; `b9prov tunnel {path} {host.name} k3s` goes through SSH"
        )
    return 0


def kubeconfig_session(
    inventory: Path, name: str, extra_vars: tuple[str, ...], host_keys: str
) -> Session:
    """To ask one host of an inventory for its kubeconfig. Raises BadInput."""
    request = Request(inventory, limit=name, extra_vars=extra_vars, host_keys=host_keys)
    return open_session(request, shipped_playbook("kubeconfig", None), {})


def ask_kubeconfig(session: Session) -> dict[str, Any] | None:
    """The kubeconfig that the k3s of the session's one host wrote for its administrator; None when
    the user interrupted. Raises Unreachable."""
    hosts = session.ask()
    if hosts is None:
        return None
    (state,) = hosts
    if state.summary.unreachable:
        raise Unreachable(f"{state.name}: {state.summary.reason}", state.summary.advice)
    found = state.left(FACT)
    document = yaml.safe_load(found) if isinstance(found, str) else None
    if not isinstance(document, dict):
        raise Unreachable(
            f"{state.name} has no k3s server's kubeconfig (/etc/rancher/k3s/k3s.yaml)",
            "only a k3s in mode server writes one: see `b9prov status`",
        )
    return document


def rewritten(document: dict[str, Any], server: str, name: str) -> str:
    """The kubeconfig for a k3s that is reached at `server`, with `name` for its context."""
    (cluster,) = document["clusters"]
    (user,) = document["users"]
    own = {**cluster["cluster"], "server": server, "tls-server-name": NAME}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": own}],
            "users": [{"name": name, "user": user["user"]}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        },
        sort_keys=False,
    )


def _unreached(document: dict[str, Any], address: str) -> str:
    """Why the k3s can't be talked to at its host's address; nothing when it can."""
    authority = document["clusters"][0]["cluster"]["certificate-authority-data"]
    context = ssl.create_default_context(cadata=base64.b64decode(authority).decode())
    try:
        with socket.create_connection((address, PORT), _REACH_SECONDS) as plain:
            plain.settimeout(_REACH_SECONDS)
            context.wrap_socket(plain, server_hostname=NAME).close()
    except ssl.SSLCertVerificationError as error:
        return f"{address}:{PORT} is somebody else: {error.verify_message}"
    except OSError as error:
        return f"nothing answers at {address}:{PORT}: {error.strerror or error}"
    return ""


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
