"""The stand-in's `k3s agent`: joins a server by its token, as k3s's does, and runs nothing."""

from __future__ import annotations

import base64
import hashlib
import signal
import ssl
import sys
import threading
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from provisioner.lab.standins.k3s_files import Refused, load_agent, notify

TIMEOUT = 10.0
AGAIN = 2.0  # seconds between tries


def run(config: Path | None) -> int:
    """Be a node of the server until told to stop; ready once the server took it."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    agent = load_agent(config)
    while True:
        try:
            _join(agent.server, agent.token, agent.node_name)
            break
        except (URLError, OSError) as error:
            if isinstance(error, HTTPError) and error.code == 401:
                raise Refused(f"{agent.server} does not take this token") from None
            print(f"k3s-stand-in: {agent.server}: {error}", file=sys.stderr)
        if stop.wait(AGAIN):
            return 0
    print(f"k3s-stand-in agent: {agent.node_name} is a node of {agent.server}", file=sys.stderr)
    notify("READY=1")
    stop.wait()
    return 0


def _join(server: str, token: str, node: str) -> None:
    """Ask for the node's certificate, of a server whose authority is that of the token."""
    authority = _get(f"{server}/cacerts", {})
    digest, _, login = token.rpartition("::")
    if digest and digest != "K10" + hashlib.sha256(authority).hexdigest():
        raise Refused(f"{server} is another server than the one that gave the token")
    name, _, secret = login.rpartition(":")
    basic = base64.b64encode(f"{name or 'node'}:{secret}".encode()).decode()
    headers = {"Authorization": f"Basic {basic}", "k3s-Node-Name": node}
    _get(f"{server}/v1-k3s/serving-kubelet.crt", headers)


def _get(url: str, headers: dict[str, str]) -> bytes:
    # whose certificate it is, the token's digest tells
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with urlopen(Request(url, headers=headers), timeout=TIMEOUT, context=context) as answer:
        text: bytes = answer.read()
    return text
