"""A k3s of the lab on loopback, and its API as the gateway sees it."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import requests
import yaml
from real_servers import running

from provisioner import paths

READY_SECONDS = 150
JOBS = "/apis/batch/v1/namespaces/default/jobs"
PODS = "/api/v1/namespaces/default/pods"
MANIFEST = (paths.data_dir("templates") / "k3s-gateway-access.yaml.j2").read_text()
TOKEN_SECRET = """\
apiVersion: v1
kind: Secret
metadata:
  name: NAME
  namespace: default
  annotations:
    kubernetes.io/service-account.name: b9prov-gateway
type: kubernetes.io/service-account-token
"""


@dataclass
class K3s:
    """One k3s: its program, its folder, and the port of its API."""

    program: Path
    folder: Path
    port: int

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.kubeconfig = self.folder / "k3s.yaml"
        self.config = self.folder / "config.yaml"
        self.config.write_text(
            f"bind-address: 127.0.0.1\nhttps-listen-port: {self.port}\n"
            f"data-dir: {self.folder / 'data'}\nwrite-kubeconfig: {self.kubeconfig}\n"
            'write-kubeconfig-mode: "0600"\nnode-name: w1\ndisable:\n  - traefik\n'
        )
        self.deploy("b9prov", MANIFEST)

    def deploy(self, name: str, text: str) -> None:
        """Put a manifest where k3s picks it up."""
        folder = self.folder / "data/server/manifests"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f".{name}").write_text(text)
        (folder / f".{name}").rename(folder / f"{name}.yaml")

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """Run `k3s server` as its unit does, from the moment it says READY=1."""
        address = self.folder / "notify"
        address.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.bind(str(address))
            channel.settimeout(READY_SECONDS)
            environment = {"K3S_CONFIG_FILE": str(self.config), "NOTIFY_SOCKET": str(address)}
            log = self.folder / "k3s.log"
            with running([self.program, "server"], log, environment) as process:
                assert channel.recv(100) == b"READY=1"
                yield process

    def kubectl(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run `k3s kubectl …`."""
        environment = {**os.environ, "K3S_CONFIG_FILE": str(self.config)}
        environment["KUBECONFIG"] = str(self.kubeconfig)
        command = (str(self.program), "kubectl", *words)
        return subprocess.run(
            command,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def apply(self, text: str) -> str:
        """What `kubectl apply -f -` says, by an explicit kubeconfig."""
        done = self.kubectl("--kubeconfig", str(self.kubeconfig), "apply", "-f", "-", stdin=text)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def admin(self) -> str:
        """The administrator's token."""
        return str(yaml.safe_load(self.kubeconfig.read_text())["users"][0]["user"]["token"])

    def token(self, secret: str = "b9prov-gateway-token") -> str:
        """The ServiceAccount's token as `up` reads it; empty while there is none."""
        return self._secret(secret, "token")

    def authority(self) -> str:
        """That of the API's certificate, as `up` reads it for the agent."""
        return self._secret("b9prov-gateway-token", "ca.crt")

    def _secret(self, secret: str, key: str) -> str:
        done = self.kubectl("-n", "default", "get", "secret", secret, "-o", "json")
        if done.returncode:
            return ""
        data = json.loads(done.stdout).get("data", {})
        return base64.b64decode(data.get(key, "")).decode()

    @cached_property
    def ask(self) -> Callable[..., requests.Response]:
        """As `call`, over one connection: for many calls."""
        session = requests.Session()

        def ask(method: str, path: str, token: str, body: dict[str, Any]) -> requests.Response:
            headers = {"Authorization": f"Bearer {token}"}
            url = f"https://127.0.0.1:{self.port}{path}"
            return session.request(
                method, url, headers=headers, json=body, verify=False, timeout=20
            )

        return ask

    def call(
        self, method: str, path: str, token: str, body: dict[str, Any] | None = None
    ) -> requests.Response:
        """One call as the gateway makes it: the certificate is not looked at."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        url = f"https://127.0.0.1:{self.port}{path}"
        # The certificate is self-signed and the gateway does not verify it either.
        return requests.request(method, url, headers=headers, json=body, verify=False, timeout=20)


def gateway_job(name: str) -> dict[str, Any]:
    """The worker Job that the gateway creates, in its traits that admission looks at."""
    container = {
        "name": "worker",
        "image": "registry.example/worker:latest",
        "command": ["/usr/local/bin/worker"],
        "securityContext": {"privileged": True},
        "resources": {"limits": {"nvidia.com/gpu": "1"}, "requests": {"nvidia.com/gpu": "1"}},
        "volumeMounts": [{"name": "images", "mountPath": "/images"}],
    }
    labels = {"run.beam.cloud/role": "worker", "run.beam.cloud/worker-pool-name": "gpu"}
    pod = {
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "restartPolicy": "OnFailure",
        "containers": [container],
        "volumes": [
            {"name": "images", "hostPath": {"path": "/images", "type": "DirectoryOrCreate"}}
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "ttlSecondsAfterFinished": 30,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
