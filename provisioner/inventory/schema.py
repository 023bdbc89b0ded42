"""The inventory's schema: every key, its type, default and meaning.

It is the one source of defaults; `inventory.example.yaml` repeats each description as a comment
(a test holds it to that).
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from provisioner.inventory import fields as f


class Section(BaseModel):
    """A mapping in the file; keys it does not name are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _key(default: Any, description: str) -> Any:
    return Field(default, description=description)


def _section(model: type[Section], description: str) -> Any:
    return Field(default_factory=model, description=description)


class Ollama(Section):
    enabled: f.Boolean = _key(True, "install and run Ollama")
    version: f.Word = _key("0.9.6", "release, without v")
    sha256: f.Sha256 | None = _key(None, "of its archive, when the version is not one we pin")
    mirror: f.Url | None = _key(None, "base URL of the archive, asked before artifacts.mirror")
    host: f.Ip = _key("127.0.0.1", "address it listens on")
    port: f.Port = _key(11434, "port it listens on")
    models: list[f.Word] = _key([], "models to pull")
    insecure: f.Boolean = _key(False, "pull from registries without TLS, such as one on the LAN")
    models_dir: f.AbsolutePath | None = _key(
        None, "where models are kept; null: Ollama's own place"
    )


class K3s(Section):
    enabled: f.Boolean = _key(True, "install and run k3s")
    mode: Annotated[str, f.choice("server", "join", "existing")] = _key(
        "server", "server: own cluster; join: an agent of url; existing: as is"
    )
    version: f.Word = _key("v1.33.4+k3s1", "release, with v")
    sha256: f.Sha256 | None = _key(None, "of its binary, when the version is not one we pin")
    url: f.Url | None = _key(None, "join: the server, https://HOST:6443")
    token: f.SecretText | None = _key(None, "join: the server's token")


class Artifacts(Section):
    mirror: f.Url | None = _key(None, "base URL of the pinned files, asked before the vendor")
    dir: f.AbsolutePath | None = _key(None, "directory on the host that holds them already")


class Nvidia(Section):
    driver_min: f.Word = _key("525.60.13", "oldest driver that will do")


class Agent(Section):
    keepalive_interval: Annotated[int, f.whole(1, 240)] = _key(
        60, "seconds between keepalives; the gateway forgets after 300"
    )


class Tunnel(Section):
    port: f.Port = _key(1994, "port on the worker's loopback that leads to the gateway's API")
    alive_interval: Annotated[int, f.whole(1, 300)] = _key(15, "seconds between ssh's own probes")
    alive_count: Annotated[int, f.whole(1, 20)] = _key(3, "unanswered probes before it reconnects")


class Preflight(Section):
    min_disk_gib: Annotated[int, f.whole(0)] = _key(20, "free space wanted on /")
    min_memory_mib: Annotated[int, f.whole(0)] = _key(2048, "memory wanted")
    ignore: list[f.Word] = _key([], "names of checks whose failure is only a warning")


class Settings(Section):
    """What `defaults`, groups, hosts and -e may say."""

    user: f.Word | None = _key(None, "SSH user; null: as ssh_config says, or yours")
    port: f.Port = _key(22, "SSH port")
    identity_file: f.Text | None = _key(
        None, "private key, relative to this file; null: the agent's"
    )
    host_key: f.HostKey | None = _key(None, "SHA256:… or ssh-ed25519 AAAA…; null: known_hosts")
    jump: f.Word | None = _key(None, "jump host, USER@ADDRESS:PORT, or several with commas")
    become_password: f.SecretText | None = _key(None, "sudo's password, where it wants one")
    connect_timeout: f.Seconds = _key(10.0, "seconds to connect and log in")
    pool: f.Word = _key("gpu", "the gateway's worker pool")
    provider: f.Word = _key("generic", "provider name the machine is registered under")
    gpu: f.BooleanOrAuto = _key(True, "true: healthy GPUs wanted; false: CPU only; auto: either")
    ollama: Ollama = _section(Ollama, "inference server")
    k3s: K3s = _section(K3s, "the Kubernetes that the gateway drives")
    artifacts: Artifacts = _section(Artifacts, "where Ollama's and k3s's files come from")
    nvidia: Nvidia = _section(Nvidia, "what the driver must be")
    agent: Agent = _section(Agent, "registration and keepalive")
    tunnel: Tunnel = _section(Tunnel, "SSH tunnel between worker and gateway host")
    preflight: Preflight = _section(Preflight, "what a host must have before anything is changed")
    vars: f.Variables = _key({}, "variables of your own, for your playbooks and templates")


class HostSettings(Settings):
    """What one host may say."""

    address: f.Address | None = _key(None, "IP address or DNS name; null: the host's name")
    groups: list[f.Word] = _key([], "groups it is in, beside those that list it")
    machine_id: f.MachineId | None = _key(None, "machine made beforehand; null: made by up")
    machine_token: f.SecretText | None = _key(None, "its registration token; goes with machine_id")
    private_ip: f.Ip | None = _key(None, "address to register as private; null: found on the host")


class GroupSettings(Settings):
    """What a group may say: the settings of its hosts."""

    hosts: list[f.Word] = _key([], "names of its hosts")


class GatewaySettings(Section):
    """The gateway and the host it runs on."""

    host: f.Address | None = _key(None, "SSH address of the gateway host")
    user: f.Word | None = _key(None, "SSH user; null: as ssh_config says, or yours")
    port: f.Port = _key(22, "SSH port")
    identity_file: f.Text | None = _key(
        None, "private key, relative to this file; null: the agent's"
    )
    host_key: f.HostKey | None = _key(None, "SHA256:… or ssh-ed25519 AAAA…; null: known_hosts")
    jump: f.Word | None = _key(None, "jump host, USER@ADDRESS:PORT, or several with commas")
    become_password: f.SecretText | None = _key(None, "sudo's password, where it wants one")
    connect_timeout: f.Seconds = _key(10.0, "seconds to connect and log in")
    api: f.Endpoint = _key("localhost:31994", "the gateway's API as seen from the gateway host")
    url: f.Url | None = _key(None, "the API, where it is reached without that host")
    admin_token: f.SecretText | None = _key(None, "cluster-admin token; null: machine_id per host")
    manage: f.Boolean = _key(True, "prepare the gateway host; false: print what its admin must do")
    addresses: f.Network = _key("10.199.0.0/24", "pool of the workers' addresses on that host")
    forwards: list[f.Forward] = _key([], "further ports for workers: PORT:HOST:HOSTPORT")
    tunnel_address: f.Address | None = _key(None, "that host as workers reach it; null: as host")
    tunnel_port: f.Port | None = _key(None, "its SSH port as workers reach it; null: as port")
    vars: f.Variables = _key({}, "variables of your own, for playbooks on that host")


class Document(Section):
    """The whole file."""

    gateway: GatewaySettings = _section(GatewaySettings, "the Beta9 gateway and its host")
    defaults: Settings = _section(Settings, "settings of every host")
    groups: dict[f.Name, GroupSettings] = _key(
        {}, "hosts with settings in common; a later one wins"
    )
    hosts: dict[f.Name, HostSettings] = _key({}, "the workers")


CONNECTION_KEYS = (
    "address",
    "port",
    "user",
    "identity_file",
    "host_key",
    "jump",
    "become_password",
    "connect_timeout",
)
"""Settings that say how to reach a host; they are no variables."""

HOST_ONLY_KEYS = frozenset(HostSettings.model_fields) - frozenset(Settings.model_fields)


def values(section: Section) -> dict[str, Any]:
    """A section's keys and values, sections in it included, as plain mappings."""
    return {name: _value(getattr(section, name)) for name in type(section).model_fields}


def _value(value: Any) -> Any:
    return values(value) if isinstance(value, Section) else value
