"""What the agent is told: by flag, else by environment, else by file; checked before it is used.

The gateway checks almost nothing (`cpu: "8"` becomes 8 millicores, an empty id a junk record), so
everything that it would swallow is refused here.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from provisioner.agent.http import Endpoint
from provisioner.agent.log import hide


class BadSettings(Exception):
    """Settings that cannot be used; each of `problems` is one line."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class Setting(NamedTuple):
    """One setting: its flag's name, its place in the file, its default, what is right for it."""

    flag: str
    path: str
    help: str
    default: str = ""
    pattern: str = ".*"
    wanted: str = ""
    secret: bool = False

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "B9AGENT_" + self.flag.replace("-", "_").upper()


_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62})"
_NUMBER = r"\d{1,5}"

SETTINGS: tuple[Setting, ...] = (
    Setting("token", "machine.token", "machine token", secret=True, pattern=r"\S+",
            wanted="a token from `beta9 machine create`"),
    Setting("token-file", "machine.token_file", "file that holds the machine token"),
    Setting("machine-id", "machine.id", "machine id", pattern=r"[0-9a-f]{8}",
            wanted="8 lower-case hexadecimal digits"),
    Setting("pool-name", "pool", "worker pool", "external", _NAME, "a pool's name"),
    Setting("provider-name", "provider", "provider", "generic", _NAME, "a provider's name"),
    Setting("gateway-host", "gateway.host", "gateway's address", "localhost"),
    Setting("gateway-port", "gateway.port", "gateway's port", "1994", _NUMBER, "1 to 65535"),
    Setting("gateway-tls", "gateway.tls", "speak HTTPS", "false", "true|false", "true or false"),
    Setting("hostname", "machine.hostname", "address at which the gateway reaches this k3s"),
    Setting("private-ip", "machine.private_ip", "address in the worker's own network"),
    Setting("cpu", "machine.cpu", "CPU offered, as in 8000m", pattern=r"[1-9]\d{0,8}m",
            wanted="millicores with an m, as in 8000m for 8 vCPUs"),
    Setting("memory", "machine.memory", "memory offered, as in 16Gi", pattern=r"[1-9]\d{0,8}[GM]i",
            wanted="a whole number of Gi or Mi, as in 16Gi"),
    Setting("gpu-count", "machine.gpu_count", "GPUs offered", pattern=r"\d{1,3}",
            wanted="a whole number"),
    Setting("k3s-token", "k3s.token", "token that the gateway shows to this k3s", secret=True,
            pattern=r"\S*", wanted="a bearer token without spaces"),
    Setting("k3s-token-file", "k3s.token_file", "file that holds the k3s token"),
    Setting("k3s-port", "k3s.port", "port of this machine's k3s", "6443", _NUMBER, "1 to 65535"),
    Setting("k3s-ca", "k3s.ca", "authority of its certificate, as PEM", pattern=r"[\s\S]*"),
    Setting("k3s-ca-file", "k3s.ca_file", "file that holds it"),
    Setting("tunnel-user", "tunnel.user", "whose the listener at the gateway's address must be",
            pattern=r"[a-z_][a-z0-9_-]{0,31}", wanted="a user of this machine"),
    Setting("way-back", "tunnel.way_back", "local port that leads over the tunnel to this k3s",
            pattern=_NUMBER, wanted="1 to 65535"),
    Setting("keepalive-interval", "keepalive_interval", "seconds between keepalives", "60",
            _NUMBER, "1 to 240 seconds: a machine expires after 300"),
    Setting("inference-host", "inference.host", "address of the local Ollama", "127.0.0.1"),
    Setting("inference-port", "inference.port", "port of the local Ollama", "11434", _NUMBER,
            "1 to 65535"),
    Setting("inference-backend", "inference.backend", "what serves models", "ollama",
            "ollama|vllm", "ollama or vllm"),
    Setting("inference-model", "inference.model", "model that vLLM is started with"),
    Setting("control-host", "control.host", "where the control API listens", "127.0.0.1"),
    Setting("control-port", "control.port", "port of the control API; 0 for none", "9999",
            _NUMBER, "0 to 65535"),
    Setting("control-token", "control.token", "what its callers must show", secret=True,
            pattern=r"[!-~]{16,}", wanted="a token of 16 characters or more, without spaces"),
    Setting("control-token-file", "control.token_file", "file that holds that token"),
)  # fmt: skip

_FILES = {
    "token": "token-file",
    "k3s-token": "k3s-token-file",
    "k3s-ca": "k3s-ca-file",
    "control-token": "control-token-file",
}
_SECRET_FILE_LIMIT = 64 * 1024


class Source(NamedTuple):
    """Values by flag name from one place; `base` is what relative file names are relative to."""

    label: str
    values: Mapping[str, str]
    base: Path = Path()


class Settings(NamedTuple):
    """Checked settings; empty `hostname`, `cpu` and the like are detected later."""

    token: str
    machine_id: str
    pool: str
    provider: str
    gateway: Endpoint
    hostname: str
    private_ip: str
    cpu: str
    memory: str
    gpu_count: str
    k3s_token: str
    k3s: Endpoint
    tunnel_user: str
    way_back: Endpoint | None
    interval: float
    inference: Endpoint
    backend: str
    model: str
    control: Endpoint
    control_token: str


def from_environment(environment: Mapping[str, str]) -> Source:
    """The settings in B9AGENT_* variables."""
    found = {s.flag: environment[s.variable] for s in SETTINGS if environment.get(s.variable)}
    return Source("the environment", found)


def resolve(sources: list[Source]) -> Settings:
    """Merge `sources`, the first one winning, and check the result; raises BadSettings."""
    problems: list[str] = []
    values = {setting.flag: find(setting, sources, problems)[0] for setting in SETTINGS}
    for setting in SETTINGS:
        if setting.secret:
            hide(values[setting.flag])
        problems += check(setting, values[setting.flag])
    problems += _exposed(values)
    if problems:
        raise BadSettings(problems)
    return Settings(
        token=values["token"],
        machine_id=values["machine-id"],
        pool=values["pool-name"],
        provider=values["provider-name"],
        gateway=Endpoint(
            values["gateway-host"], int(values["gateway-port"]), values["gateway-tls"] == "true"
        ),
        hostname=values["hostname"],
        private_ip=values["private-ip"],
        cpu=values["cpu"],
        memory=values["memory"],
        gpu_count=values["gpu-count"],
        k3s_token=values["k3s-token"],
        k3s=_k3s(values["k3s-port"], values["k3s-ca"]),
        tunnel_user=values["tunnel-user"],
        way_back=_k3s(values["way-back"], values["k3s-ca"]) if values["way-back"] else None,
        interval=float(values["keepalive-interval"]),
        inference=Endpoint(values["inference-host"], int(values["inference-port"])),
        backend=values["inference-backend"],
        model=values["inference-model"],
        control=Endpoint(values["control-host"], int(values["control-port"])),
        control_token=values["control-token"],
    )


def _k3s(port: str, authority: str) -> Endpoint:
    return Endpoint("127.0.0.1", int(port), True, authority)


def _exposed(values: Mapping[str, str]) -> list[str]:
    """Others than this machine's own callers need a token."""
    host = values["control-host"]
    if values["control-token"] or host == "::1" or host.startswith("127.") or host == "localhost":
        return []
    return [
        f"control.host (--control-host): at {host} anybody could ask: "
        "set control.token, or listen at 127.0.0.1"
    ]


def find(setting: Setting, sources: list[Source], problems: list[str]) -> tuple[str, str]:
    """The value of a setting and where it is from; what can't be read is added to `problems`."""
    file_flag = _FILES.get(setting.flag, "")
    for source in sources:
        if source.values.get(setting.flag):
            return source.values[setting.flag], source.label
        if source.values.get(file_flag):
            path = source.base / source.values[file_flag]
            return _secret_file(path, problems), str(path)
    return setting.default, "default"


def _secret_file(path: Path, problems: list[str]) -> str:
    try:
        with path.open(encoding="utf-8") as stream:
            return stream.read(_SECRET_FILE_LIMIT).strip()
    except (OSError, UnicodeDecodeError) as problem:
        problems.append(f"cannot read {path}: {getattr(problem, 'strerror', None) or 'not text'}")
        return ""


_REQUIRED = ("token", "machine-id")


def check(setting: Setting, value: str) -> list[str]:
    """What is wrong with the value of a setting, if anything; secrets are not shown."""
    where = f"{setting.path} (--{setting.flag})"
    if not value:
        missing = setting.flag in _REQUIRED
        return [f"{where} is missing: {setting.wanted}"] if missing else []
    shown = "its value" if setting.secret else repr(value)
    if not re.fullmatch(setting.pattern, value, re.ASCII):
        return [f"{where}: {shown} is not {setting.wanted or 'usable'}"]
    fits = _FITS.get(setting.flag)
    if fits and not fits(value):
        return [f"{where}: {shown} is not {setting.wanted or 'a host name or address'}"]
    return []


def is_host(value: str) -> bool:
    """Whether `value` is an address or a host name, without scheme and port."""
    label = r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)"
    named = len(value) <= 253 and re.fullmatch(rf"{label}(\.{label})*\.?", value)
    return bool(named) or is_address(value)


def is_address(value: str) -> bool:
    """Whether `value` is an address of IPv4 or IPv6."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, value)
        except (OSError, ValueError):
            continue
        return True
    return False


def _is_port(value: str) -> bool:
    return 1 <= int(value) <= 65535


def _is_port_or_none(value: str) -> bool:
    return int(value) <= 65535


def _is_own(value: str) -> bool:
    return value == "localhost" or is_address(value)


def _is_interval(value: str) -> bool:
    return 1 <= int(value) <= 240


# beside a setting's pattern
_FITS: dict[str, Callable[[str], bool]] = {
    **dict.fromkeys(("gateway-host", "hostname", "inference-host"), is_host),
    **dict.fromkeys(("gateway-port", "inference-port", "k3s-port", "way-back"), _is_port),
    "control-port": _is_port_or_none,
    "control-host": _is_own,
    "private-ip": is_address,
    "keepalive-interval": _is_interval,
}
