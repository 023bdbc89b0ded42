"""A stand-in for k3s: its files, unit behaviour and the API calls of a gateway; no containers."""

from __future__ import annotations

import signal
import socket
import ssl
import sys
import threading
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

from provisioner.lab.standins import k3s_agent, k3s_crictl, k3s_kubectl, versions
from provisioner.lab.standins.k3s_api import Cluster, Handler
from provisioner.lab.standins.k3s_files import (
    Refused,
    Server,
    kept_token,
    load_server,
    manifest_contents,
    node_token,
    notify,
    serving_certificate,
    write_kubeconfig,
)
from provisioner.lab.standins.k3s_manifests import deploy

MANIFEST_SECONDS = 1.0  # between looks at the manifests; k3s looks every 15 s
HANDSHAKE_SECONDS = 10.0


class TlsServer(ThreadingHTTPServer):
    """HTTPS whose handshakes happen in the connections' own threads, and so block nobody."""

    daemon_threads = True

    def __init__(self, address: tuple[str, int], context: ssl.SSLContext) -> None:
        super().__init__(address, Handler)
        self._context = context

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, peer = super().get_request()
        connection.settimeout(HANDSHAKE_SECONDS)
        wrapped = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        return wrapped, peer

    def handle_error(self, request: Any, client_address: Any) -> None:
        print(f"{client_address[0]} {sys.exc_info()[1]}", file=sys.stderr)


def keep_deploying(cluster: Cluster, settings: Server, stop: threading.Event) -> None:
    """Apply manifests, and again whatever changes, until told to stop."""
    applied: dict[Path, bytes] = {}
    while True:
        contents = manifest_contents(settings)
        for path, content in contents.items():
            if applied.get(path) != content:
                for line in deploy(cluster, content.decode()):
                    print(line, file=sys.stderr)
        applied = contents
        if stop.wait(MANIFEST_SECONDS):
            return


def serve(settings: Server) -> int:
    """`k3s server`: ready once the API answers and the administrator's kubeconfig lies there."""
    certificate, key = serving_certificate(settings)
    token = kept_token(settings.data / "server" / "cred" / "admin.token")
    settings.manifests.mkdir(parents=True, exist_ok=True)
    authority = certificate.read_text()
    joining = node_token(settings, authority)
    state = settings.data / "server"
    Handler.cluster = Cluster(state, settings.node_name, token, authority, joining)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = TlsServer((settings.bind_address, settings.port), context)
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    threading.Thread(target=server.serve_forever, daemon=True).start()
    mode = settings.kubeconfig_mode
    write_kubeconfig(settings.kubeconfig, settings.url, certificate, token, mode)
    print(f"k3s-stand-in {versions.K3S} serves {settings.url}", file=sys.stderr)
    notify("READY=1")
    keep_deploying(Handler.cluster, settings, stop)
    server.shutdown()
    return 0


def main() -> int:
    """`k3s server`, `agent`, `kubectl`, `crictl` and `--version`."""
    words = sys.argv[1:]
    try:
        if words[:1] == ["kubectl"]:
            return k3s_kubectl.main(words[1:])
        if words[:1] == ["crictl"]:
            return k3s_crictl.main(words[1:])
        if words[:1] in (["server"], ["agent"]) and len(words) in (1, 3):
            config = Path(words[2]) if words[1:2] in (["--config"], ["-c"]) else None
            return serve(load_server(config)) if words[0] == "server" else k3s_agent.run(config)
    except Refused as error:
        print(f"k3s-stand-in: {error}", file=sys.stderr)
        return 1
    if words in (["--version"], ["-v"]):
        print(f"k3s version {versions.K3S} (k3s-stand-in)")
        return 0
    print("k3s-stand-in: only server, agent, kubectl, crictl and --version", file=sys.stderr)
    return 1
