"""A thin k3s: its command line, files and unit behaviour over the real Kubernetes programs.

It carries kube-apiserver, kube-controller-manager, kubectl and etcd, unpacks them on the first
start and runs them. It is not k3s: there is no kubelet, so there is no node and no pod ever runs.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import signal
import ssl
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from provisioner.lab.standins import versions
from provisioner.lab.standins.k3s_files import (
    Refused,
    Server,
    kept_token,
    load_server,
    manifest_contents,
    notify,
    openssl,
    serving_certificate,
    write_kubeconfig,
    write_private,
)

READY_SECONDS = 120.0
END_SECONDS = 10.0
APPLY_SECONDS = 60.0
LOOK_SECONDS = 1.0  # between looks at the programs and the manifests
CARRIED = "bin/"
ETCD = "http://127.0.0.1:2379"
ETCD_PEER = "http://127.0.0.1:2380"
_ARCHIVE = Path(__file__).resolve().parents[3]  # the program itself, a zip
_CONTROLLERS = (
    "garbage-collector-controller",
    "job-controller",
    "namespace-controller",
    "root-ca-certificate-publisher-controller",
    "serviceaccount-controller",
    "serviceaccount-token-controller",
    "ttl-after-finished-controller",
)


def unpack(data: Path) -> Path:
    """The folder of the carried programs, unpacked under `data` on the first call as k3s does."""
    with zipfile.ZipFile(_ARCHIVE) as archive:
        entries = [entry for entry in archive.infolist() if entry.filename.startswith(CARRIED)]
        identity = "".join(f"{e.filename} {e.CRC} {e.file_size}\n" for e in entries)
        home = data / "data" / hashlib.sha256(identity.encode()).hexdigest()
        if not home.is_dir():
            part = home.with_name(f".{home.name}.{os.getpid()}")
            for entry in entries:
                path = part / entry.filename
                path.parent.mkdir(parents=True, exist_ok=True)
                with archive.open(entry) as source, path.open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
                path.chmod(0o755)
            _settle(part, home)
    return home / CARRIED


def _settle(part: Path, home: Path) -> None:
    """Rename a folder to its place, unless another process was faster."""
    try:
        part.rename(home)
    except OSError:
        shutil.rmtree(part)
        if not home.is_dir():
            raise


_libc = ctypes.CDLL(None)
_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG


def _die_with_parent() -> None:
    """A k3s that is killed takes its parts with it, since they are threads of one process."""
    _libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)


class Programs:
    """The running programs, in the order of their start."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, name: str, *flags: str) -> None:
        # etcd and the API server would tell systemd that they are ready, for all of us.
        environment = {k: v for k, v in os.environ.items() if k != "NOTIFY_SOCKET"}
        command = (str(self._folder / name), *flags)
        program = subprocess.Popen(command, env=environment, preexec_fn=_die_with_parent)
        self._running.append(program)

    def check(self) -> None:
        """Refuse to go on without one of them, as k3s ends when one of its parts does."""
        for program in self._running:
            if program.poll() is not None:
                name = Path(str(program.args[0])).name  # type: ignore[index]
                raise Refused(f"{name} ended with status {program.returncode}")

    def end(self) -> None:
        """End all of them, the last started first, so that etcd outlives its users."""
        while self._running:
            program = self._running.pop()
            program.terminate()
            try:
                program.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()


class Keys:
    """The files that let the programs trust each other."""

    def __init__(self, server: Server) -> None:
        self.certificate, self.key = serving_certificate(server)
        self.accounts = server.tls / "service.key"
        if not self.accounts.exists():
            openssl("genrsa", "-out", str(self.accounts), "2048")
            self.accounts.chmod(0o600)
        credentials = server.data / "server" / "cred"
        self.admin = kept_token(credentials / "admin.token")
        controller = kept_token(credentials / "controller.token")
        self.tokens = credentials / "tokens.csv"
        write_private(
            self.tokens,
            f'{self.admin},system:admin,admin,"system:masters"\n'
            f"{controller},system:kube-controller-manager,controller\n",
        )
        self.controller = credentials / "controller.kubeconfig"
        write_kubeconfig(self.controller, server.url, self.certificate, controller)


def start_all(programs: Programs, server: Server, keys: Keys) -> None:
    """Start etcd, the API server and the controllers."""
    programs.start(
        "etcd",
        f"--data-dir={_private_folder(server.data / 'server' / 'db' / 'etcd')}",
        *(f"--listen-client-urls={ETCD}", f"--advertise-client-urls={ETCD}"),
        *(f"--listen-peer-urls={ETCD_PEER}", f"--initial-advertise-peer-urls={ETCD_PEER}"),
        f"--initial-cluster=default={ETCD_PEER}",
        *("--logger=zap", "--log-level=warn"),
    )
    programs.start(
        "kube-apiserver",
        f"--etcd-servers={ETCD}",
        *(f"--bind-address={server.bind_address}", f"--secure-port={server.port}"),
        # Nothing in this cluster looks the API up, and a loopback address may not be advertised.
        *("--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none"),
        *(f"--tls-cert-file={keys.certificate}", f"--tls-private-key-file={keys.key}"),
        *(f"--token-auth-file={keys.tokens}", "--anonymous-auth=false"),
        *("--authorization-mode=Node,RBAC", "--allow-privileged=true"),
        f"--service-account-key-file={keys.accounts}",
        f"--service-account-signing-key-file={keys.accounts}",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        *("--service-cluster-ip-range=10.43.0.0/16", "--profiling=false"),
    )


def start_controllers(programs: Programs, server: Server, keys: Keys) -> None:
    """Start the controllers that jobs and token Secrets need."""
    programs.start(
        "kube-controller-manager",
        *(f"--kubeconfig={keys.controller}", "--use-service-account-credentials"),
        *("--bind-address=127.0.0.1", f"--cert-dir={server.tls}"),
        *(f"--controllers={','.join(_CONTROLLERS)}", "--leader-elect=false"),
        f"--service-account-private-key-file={keys.accounts}",
        *(f"--root-ca-file={keys.certificate}", "--profiling=false"),
    )


def _private_folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def is_ready(programs: Programs, server: Server, keys: Keys, stop: threading.Event) -> bool:
    """Wait until /readyz answers; not so when told to stop before that."""
    context = ssl.create_default_context(cafile=str(keys.certificate))
    request = Request(f"{server.url}/readyz", headers={"Authorization": f"Bearer {keys.admin}"})
    deadline = time.monotonic() + READY_SECONDS
    while not stop.wait(0.1):
        programs.check()
        try:
            urlopen(request, timeout=5, context=context).close()
            return True
        except (URLError, OSError) as error:
            if time.monotonic() > deadline:
                raise Refused(
                    f"the API is not ready after {READY_SECONDS:.0f} s: {error}"
                ) from None
    return False


class Manifests:
    """Applies what lies in the manifests folder, and again whatever changes or failed."""

    def __init__(self, server: Server, kubectl: Path) -> None:
        self._server = server
        self._kubectl = kubectl
        self._applied: dict[Path, bytes] = {}

    def apply(self) -> None:
        contents = manifest_contents(self._server)
        self._applied = {
            path: content
            for path, content in contents.items()
            if self._applied.get(path) == content or self._succeeds(path)
        }

    def _succeeds(self, path: Path) -> bool:
        command = (str(self._kubectl), "apply", "-f", str(path))
        environment = {**os.environ, "KUBECONFIG": str(self._server.kubeconfig)}
        try:
            result = subprocess.run(command, env=environment, timeout=APPLY_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            print(f"k3s: applying {path} took too long", file=sys.stderr)
            return False
        return result.returncode == 0


def keep_going(programs: Programs, manifests: Manifests, stop: threading.Event) -> None:
    """Look after the programs and the manifests until told to stop."""
    while not stop.is_set():
        programs.check()
        manifests.apply()
        stop.wait(LOOK_SECONDS)


def serve(server: Server) -> int:
    """`k3s server`: all programs together, until told to end or until one of them ends."""
    stop = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: stop.set())
    folder = unpack(server.data)
    keys = Keys(server)
    server.manifests.mkdir(parents=True, exist_ok=True)
    programs = Programs(folder)
    try:
        start_all(programs, server, keys)
        if is_ready(programs, server, keys, stop):
            start_controllers(programs, server, keys)
            mode = server.kubeconfig_mode
            write_kubeconfig(server.kubeconfig, server.url, keys.certificate, keys.admin, mode)
            notify("READY=1")
            keep_going(programs, Manifests(server, folder / "kubectl"), stop)
    finally:
        programs.end()
    return 0


def kubectl(words: list[str]) -> int:
    """Become the real kubectl, with k3s's kubeconfig unless another is named."""
    server = load_server()
    program = unpack(server.data) / "kubectl"
    os.environ.setdefault("KUBECONFIG", str(server.kubeconfig))
    os.execv(program, ["kubectl", *words])  # noqa: S606 — no shell is wanted


def main() -> int:
    """`k3s server`, `k3s kubectl …` and `k3s --version`."""
    words = sys.argv[1:]
    try:
        if words[:1] == ["kubectl"]:
            return kubectl(words[1:])
        if words == ["server"] or (words[:2] == ["server", "--config"] and len(words) == 3):
            return serve(load_server(Path(words[2]) if len(words) == 3 else None))
    except Refused as error:
        print(f"k3s: {error}", file=sys.stderr)
        return 1
    if words in (["--version"], ["-v"]):
        print(
            f"k3s version {versions.K3S_THIN} (thin program over kube-apiserver "
            f"{versions.KUBERNETES}; not k3s)"
        )
        return 0
    print("k3s: this thin program knows server, kubectl and --version", file=sys.stderr)
    return 1
