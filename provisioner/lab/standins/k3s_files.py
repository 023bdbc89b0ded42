"""What a k3s of any kind keeps on disk: its configuration, certificate, kubeconfig, manifests."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Union

CONFIG = Path("/etc/rancher/k3s/config.yaml")
KUBECONFIG = Path("/etc/rancher/k3s/k3s.yaml")
DATA = Path("/var/lib/rancher/k3s")
_WILDCARDS = ("0.0.0.0", "::")

Value = Union[str, "list[str]"]


class Refused(Exception):
    """Something that the user must put right; its text is the whole message."""


def parse_config(text: str) -> dict[str, Value]:
    """The part of YAML that k3s's configuration needs: `key: value` and lists of plain values."""
    settings: dict[str, Value] = {}
    last = ""
    for number, raw in enumerate(text.splitlines(), 1):
        line = _without_comment(raw).rstrip()
        if not line or line == "---":
            continue
        item = line.lstrip()
        if item.startswith("- ") and last:
            items = settings[last]
            settings[last] = [*(items if isinstance(items, list) else []), _plain(item[2:])]
            continue
        key, colon, value = line.partition(":")
        if not colon or line[0].isspace():
            raise Refused(f"line {number} of the configuration is not understood: {raw!r}")
        last = _plain(key)
        settings[last] = _value(value.strip())
    return settings


def _without_comment(line: str) -> str:
    return "" if line.lstrip().startswith("#") else line.split(" #", 1)[0]


def _value(text: str) -> Value:
    if text.startswith("[") and text.endswith("]"):
        return [_plain(item) for item in text[1:-1].split(",") if item.strip()]
    return _plain(text)


def _plain(text: str) -> str:
    text = text.strip()
    quoted = len(text) > 1 and text[0] == text[-1] and text[0] in "'\""
    return text[1:-1] if quoted else text


@dataclass(frozen=True)
class Server:
    """The settings of `k3s server` that the lab's programs honour, named as in k3s."""

    bind_address: str
    port: int
    data: Path
    node_name: str
    tls_san: tuple[str, ...]
    kubeconfig: Path
    kubeconfig_mode: int

    @property
    def manifests(self) -> Path:
        """Where a manifest is applied by lying there."""
        return self.data / "server" / "manifests"

    @property
    def tls(self) -> Path:
        """Certificates and keys; for root alone."""
        return self.data / "server" / "tls"

    @property
    def url(self) -> str:
        """The API as this machine reaches it."""
        wildcard = self.bind_address in _WILDCARDS
        return f"https://{'127.0.0.1' if wildcard else self.bind_address}:{self.port}"


def load_server(config: Path | None = None) -> Server:
    """Read the configuration file, which may be absent, and fill in k3s's own defaults."""
    path = config or Path(os.environ.get("K3S_CONFIG_FILE") or CONFIG)
    settings = parse_config(path.read_text()) if path.exists() else {}

    def text(key: str, default: str) -> str:
        value = settings.get(key, default)
        if isinstance(value, list):
            raise Refused(f"{key} takes one value")
        return value or default

    sans = settings.get("tls-san", [])
    return Server(
        bind_address=text("bind-address", "0.0.0.0"),
        port=int(text("https-listen-port", "6443")),
        data=Path(text("data-dir", str(DATA))),
        node_name=text("node-name", socket.gethostname()).lower(),
        tls_san=tuple(sans if isinstance(sans, list) else [sans]),
        kubeconfig=Path(text("write-kubeconfig", str(KUBECONFIG))),
        kubeconfig_mode=int(text("write-kubeconfig-mode", "0600"), 8),
    )


@dataclass(frozen=True)
class Agent:
    """The settings of `k3s agent` that the stand-in honours."""

    server: str
    token: str
    node_name: str


def load_agent(config: Path | None = None) -> Agent:
    """Read the configuration file. Raises Refused."""
    path = config or Path(os.environ.get("K3S_CONFIG_FILE") or CONFIG)
    settings = parse_config(path.read_text()) if path.exists() else {}
    missing = [key for key in ("server", "token") if not settings.get(key)]
    if missing:
        raise Refused(f"--{missing[0]} is required")
    name = str(settings.get("node-name") or socket.gethostname())
    return Agent(str(settings["server"]).rstrip("/"), str(settings["token"]), name.lower())


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write `path` atomically; nobody sees it with a wider mode, nor half of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.unlink(missing_ok=True)
    with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    part.chmod(mode)
    part.replace(path)


def kept_token(path: Path) -> str:
    """The token in `path`, made on the first call."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(48))
    return path.read_text()


def node_token(server: Server, authority: str) -> str:
    """The secret by which agents join; whole, with the authority's digest, it lies where k3s has
    it."""
    secret = kept_token(server.data / "server" / "cred" / "join.token")
    digest = hashlib.sha256(authority.encode()).hexdigest()
    write_private(server.data / "server" / "node-token", f"K10{digest}::server:{secret}\n")
    return secret


def serving_certificate(server: Server) -> tuple[Path, Path]:
    """A self-signed certificate and its key, made on the first start."""
    certificate, key = server.tls / "serving.crt", server.tls / "serving.key"
    if certificate.exists() and key.exists():
        return certificate, key
    server.tls.mkdir(parents=True, exist_ok=True)
    server.tls.chmod(0o700)
    names = {"localhost", server.node_name, "kubernetes.default.svc"}
    addresses = {"127.0.0.1"}
    bound = () if server.bind_address in _WILDCARDS else (server.bind_address,)
    for name in (*server.tls_san, *bound):
        (addresses if _is_address(name) else names).add(name)
    san = ",".join([f"DNS:{n}" for n in sorted(names)] + [f"IP:{a}" for a in sorted(addresses)])
    openssl(
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
        *("-days", "3650", "-subj", "/CN=k3s", "-addext", f"subjectAltName={san}"),
        *("-keyout", str(key), "-out", str(certificate)),
    )
    key.chmod(0o600)
    return certificate, key


def _is_address(name: str) -> bool:
    family = socket.AF_INET6 if ":" in name else socket.AF_INET
    try:
        socket.inet_pton(family, name)
    except OSError:
        return False
    return True


def openssl(*arguments: str) -> None:
    """Run openssl, which Debian installs along with ca-certificates."""
    try:
        subprocess.run(("openssl", *arguments), check=True, capture_output=True, text=True)
    except FileNotFoundError:
        raise Refused("openssl is not installed, and the API server needs a certificate") from None
    except subprocess.CalledProcessError as error:
        raise Refused(f"openssl {arguments[0]} failed: {error.stderr.strip()}") from None


def write_kubeconfig(
    path: Path, url: str, certificate: Path, token: str, mode: int = 0o600
) -> None:
    """Write a kubeconfig in the shape of k3s's own, but with a token in place of a certificate."""
    authority = base64.b64encode(certificate.read_bytes()).decode()
    text = f"""apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {authority}
    server: {url}
  name: default
contexts:
- context:
    cluster: default
    user: default
  name: default
current-context: default
kind: Config
preferences: {{}}
users:
- name: default
  user:
    token: {token}
"""
    write_private(path, text, mode)


def manifest_contents(server: Server) -> dict[Path, bytes]:
    """The manifests that lie there now."""
    found = sorted([*server.manifests.glob("*.yaml"), *server.manifests.glob("*.yml")])
    return {path: path.read_bytes() for path in found}


def notify(state: str) -> None:
    """Tell systemd, when it started us with Type=notify."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.connect("\0" + address[1:] if address.startswith("@") else address)
        channel.sendall(state.encode())
