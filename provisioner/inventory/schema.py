"""The inventory's schema: every key, its type, default and meaning.

It is the one source of defaults; `inventory.example.yaml` repeats each description as a comment
(a test holds it to that).
"""

from __future__ import annotations

from provisioner.inventory import fields as f
from provisioner.inventory.sections import ByName, Key, ListOf, Section


class Ollama(Section):
    enabled = Key(f.BOOLEAN, True, "install and run Ollama")
    version = Key(f.WORD, "0.9.6", "release, without v")
    sha256 = Key(f.SHA256, None, "of its archive; null: as the lock has it")
    mirror = Key(f.URL, None, "base URL of the archive, asked before artifacts.mirror")
    host = Key(f.IP, "127.0.0.1", "address it listens on")
    port = Key(f.PORT, 11434, "port it listens on")
    models = Key(ListOf(f.MODEL), [], "models to pull: NAME:TAG, or NAME:TAG@sha256:DIGEST")
    insecure = Key(f.BOOLEAN, False, "pull from registries without TLS, such as one on the LAN")
    models_dir = Key(f.UNIT_PATH, None, "where models are kept; null: Ollama's own place")
    parallel_pulls = Key(f.whole(1, 16), 3, "models pulled at the same time")
    prune = Key(f.BOOLEAN, False, "remove models that are not listed")
    keep_alive = Key(f.DURATION, None, "how long a model stays loaded: 5m, 24h, -1; null: 5m")
    num_parallel = Key(f.whole(1, 1024), None, "requests that a model answers at the same time")
    max_loaded_models = Key(f.whole(1, 1024), None, "models loaded at the same time")
    gpus = Key(ListOf(f.GPU), [], "GPUs it may use, by UUID or index; none: all")
    env = Key(f.ENVIRONMENT, {}, "further environment variables; no secrets, any user reads them")
    probe = Key(f.BOOLEAN_OR_WORD, False, "have a model answer: true (the first listed) or a name")
    adopt = Key(
        f.choice("keep", "upgrade", "refuse"),
        "keep",
        "an Ollama that was there: keep its program, run version beside it, or stop",
    )


class K3s(Section):
    enabled = Key(f.BOOLEAN, True, "install and run k3s")
    mode = Key(
        f.choice("server", "join", "existing"),
        "server",
        "server: own cluster; join: an agent of url; existing: as is",
    )
    version = Key(f.WORD, "v1.33.4+k3s1", "release, with v")
    sha256 = Key(f.SHA256, None, "of its binary; null: as the lock has it")
    url = Key(f.URL, None, "join: the server, https://HOST:6443")
    token = Key(f.SECRET, None, "join: the server's token")
    airgap = Key(f.BOOLEAN, False, "bring its images along, for hosts that reach no registry")
    data_dir = Key(f.UNIT_PATH, None, "where k3s keeps its data; null: /var/lib/rancher/k3s")
    registries = Key(f.REGISTRIES, {}, "its registries.yaml: mirrors, and configs with their auth")
    kubelet_args = Key(ListOf(f.WORD), [], "arguments of its kubelet, NAME=VALUE")
    config = Key(f.MAPPING, {}, "further keys of its config.yaml")
    kubeconfig = Key(f.ABSOLUTE_PATH, None, "existing: the kubeconfig there, where it is no k3s")
    api = Key(f.ENDPOINT, "127.0.0.1:6443", "its API as seen from the host; the tunnel leads there")
    drain_timeout = Key(f.whole(1, 86400), 300, "seconds that an upgrade waits for pods to end")
    prepull = Key(ListOf(f.WORD), [], "images to pull before there is work for them")
    min_disk_gib = Key(f.whole(0), 10, "free space wanted for its data and for images")
    verify_job = Key(f.BOOLEAN, False, "have a Job run to its end, as the gateway's do")
    verify_image = Key(
        f.WORD, "rancher/mirrored-library-busybox:1.36.1", "image of that Job; it needs `true`"
    )


class Artifacts(Section):
    mirror = Key(f.URL, None, "base URL of the pinned files, asked before the vendor")
    dir = Key(f.ABSOLUTE_PATH, None, "directory on the host that holds them already")
    lock = Key(f.TEXT, None, "your own lock, relative to this file; it goes before the shipped one")
    order = Key(
        ListOf(f.choice("dir", "mirror", "push", "vendor")),
        ["dir", "mirror", "vendor"],
        "which sources hosts try, in which order; push: the controller sends its own",
    )
    push_dir = Key(f.TEXT, None, "push: the directory on the controller, relative to this file")


class Nvidia(Section):
    driver_min = Key(f.WORD, "525.60.13", "oldest driver that will do")
    install_driver = Key(f.BOOLEAN, False, "install the driver; it is never touched otherwise")
    driver_branch = Key(f.whole(390, 9999), None, "its branch, such as 570; Debian has just one")
    reboot = Key(f.BOOLEAN, False, "reboot the host where driver or MIG take that")
    toolkit = Key(f.BOOLEAN, False, "install NVIDIA's container toolkit")
    toolkit_repo = Key(
        f.URL,
        "https://nvidia.github.io/libnvidia-container/stable/deb",
        "apt repository of the toolkit, or a mirror of it",
    )
    toolkit_key = Key(
        f.URL, "https://nvidia.github.io/libnvidia-container/gpgkey", "the key that signs it"
    )
    mig = Key(ListOf(f.WORD), None, "MIG slices of each GPU; []: MIG off; null: as they are")
    allow_reconfigure = Key(f.BOOLEAN, False, "cut them anew where they are others")
    # pinned as artifacts.lock.yaml has it
    device_plugin = Key(
        f.WORD,
        "nvcr.io/nvidia/k8s-device-plugin:v0.17.0@sha256:"
        "7089559ce6153018806857f5049085bae15b3bf6f1c8bd19d8b12f707d087dea",
        "image that offers GPUs to Kubernetes",
    )


class Agent(Section):
    keepalive_interval = Key(
        f.whole(1, 240), 60, "seconds between keepalives; the gateway forgets after 300"
    )
    control_port = Key(
        f.whole(0, 65535), 9999, "port of its control API on the worker's loopback; 0 for none"
    )


class Tunnel(Section):
    port = Key(f.PORT, 1994, "port on the worker's loopback that leads to the gateway's API")
    way_back = Key(
        f.PORT, 16443, "port on the loopback that leads to this k3s as the gateway reaches it"
    )
    alive_interval = Key(f.whole(1, 300), 1, "seconds between ssh's own probes")
    alive_count = Key(f.whole(1, 20), 2, "unanswered probes before it reconnects")


class Network(Section):
    min_gbps = Key(f.GBPS, 15.0, "Gbit/s that nettest wants of each direction")
    servers = Key(ListOf(f.ENDPOINT), [], "further iperf3 servers, HOST:PORT, such as a cache's")
    port = Key(f.PORT, 5201, "port of iperf3's server on a host while it is measured to")
    gate = Key(f.BOOLEAN, False, "up measures too, and registers no worker with a slower network")


class Preflight(Section):
    min_disk_gib = Key(f.whole(0), 20, "free space wanted on /")
    min_memory_mib = Key(f.whole(0), 2048, "memory wanted")
    ignore = Key(ListOf(f.WORD), [], "names of checks whose failure is only a warning")


class Login(Section):
    """How to log in to a host."""

    user = Key(f.WORD, None, "SSH user; null: as ssh_config says, or yours")
    port = Key(f.PORT, 22, "SSH port")
    identity_file = Key(f.TEXT, None, "private key, relative to this file; null: the agent's")
    host_key = Key(f.HOST_KEY, None, "SHA256:… or ssh-ed25519 AAAA…; null: known_hosts")
    jump = Key(f.WORD, None, "jump host, USER@ADDRESS:PORT, or several with commas")
    become_password = Key(f.SECRET, None, "sudo's password, where it wants one")
    connect_timeout = Key(f.SECONDS, 10.0, "seconds to connect and log in")


class Settings(Login):
    """What `defaults`, groups, hosts and -e may say."""

    pool = Key(f.WORD, "gpu", "the gateway's worker pool")
    provider = Key(f.WORD, "generic", "provider name the machine is registered under")
    gpu = Key(f.BOOLEAN_OR_AUTO, True, "true: healthy GPUs wanted; false: CPU only; auto: either")
    ollama = Key(Ollama, {}, "inference server")
    k3s = Key(K3s, {}, "the Kubernetes that the gateway drives")
    artifacts = Key(Artifacts, {}, "where Ollama's and k3s's files come from")
    nvidia = Key(Nvidia, {}, "driver, container toolkit, MIG")
    agent = Key(Agent, {}, "registration, keepalive, control API")
    tunnel = Key(Tunnel, {}, "SSH tunnel between worker and gateway host")
    network = Key(Network, {}, "what the network must be able to do")
    preflight = Key(Preflight, {}, "what a host must have before anything is changed")
    vars = Key(f.VARIABLES, {}, "variables of your own, for your playbooks and templates")


class HostSettings(Settings):
    """What one host may say."""

    address = Key(f.ADDRESS, None, "IP address or DNS name; null: the host's name")
    groups = Key(ListOf(f.WORD), [], "groups it is in, beside those that list it")
    machine_id = Key(f.MACHINE_ID, None, "machine made beforehand; null: made by up")
    machine_token = Key(f.SECRET, None, "its registration token; goes with machine_id")
    private_ip = Key(f.IP, None, "address to register as private; null: found on the host")


class GroupSettings(Settings):
    """What a group may say: the settings of its hosts."""

    hosts = Key(ListOf(f.WORD), [], "names of its hosts")


class StandbySettings(Login):
    """A further host of the gateway; logged in to as the first, where it does not say otherwise."""

    host = Key(f.ADDRESS, None, "its SSH address; null: its name")
    tunnel_address = Key(f.ADDRESS, None, "that host as workers reach it; null: as host")
    tunnel_port = Key(f.PORT, None, "its SSH port as workers reach it; null: as port")


class GatewaySettings(Login):
    """The gateway and the host it runs on."""

    host = Key(f.ADDRESS, None, "SSH address of the gateway host")
    api = Key(f.ENDPOINT, "localhost:31994", "the gateway's API as seen from the gateway host")
    url = Key(f.URL, None, "the API, where it is reached without that host")
    admin_token = Key(f.SECRET, None, "cluster-admin token; null: machine_id per host")
    manage = Key(f.BOOLEAN, True, "prepare the gateway host; false: print what its admin must do")
    addresses = Key(f.NETWORK, "10.199.0.0/24", "pool of the workers' addresses on that host")
    forwards = Key(ListOf(f.FORWARD), [], "further ports for workers: PORT:HOST:HOSTPORT")
    tunnel_address = Key(f.ADDRESS, None, "that host as workers reach it; null: as host")
    tunnel_port = Key(f.PORT, None, "its SSH port as workers reach it; null: as port")
    standby = Key(
        ByName(StandbySettings), {}, "its further hosts, tried in this order while that one is away"
    )
    vars = Key(f.VARIABLES, {}, "variables of your own, for playbooks on that host")


class CloudSource(Section):
    """Which machines of a cloud are hosts, and how they are reached."""

    names = Key(ListOf(f.TEXT), [], "only machines of these names, with * and ?")
    tags = Key(ListOf(f.TEXT), [], "only those with all these tags: KEY or KEY=VALUE")
    regions = Key(ListOf(f.WORD), [], "only those in these regions")
    states = Key(
        ListOf(f.choice("starting", "running", "unhealthy", "stopped", "ended", "unknown")),
        ["running"],
        "only those in these states; []: all",
    )
    group = Key(f.NAME, None, "group that they are in; made when it is not under groups")
    user = Key(f.WORD, None, "SSH user; null: as their group or defaults say, or ubuntu")
    private = Key(f.BOOLEAN, False, "reach them at their private addresses")
    cache = Key(f.whole(0, 86400), 300, "seconds until the cloud is asked again")
    api = Key(f.URL, None, "base URL of the API; null: the provider's")


class LambdaSource(CloudSource):
    """An account at Lambda."""

    api_key = Key(f.SECRET, None, "API key; null: LAMBDA_API_KEY")


class CrusoeSource(CloudSource):
    """A project at Crusoe."""

    access_key_id = Key(f.WORD, None, "null: CRUSOE_ACCESS_KEY_ID, then the profile's")
    secret_key = Key(f.SECRET, None, "null: CRUSOE_SECRET_KEY, then the profile's")
    project = Key(f.WORD, None, "its id; null: CRUSOE_DEFAULT_PROJECT, then the profile's")
    profile = Key(f.WORD, None, "profile of ~/.crusoe/config; null: CRUSOE_PROFILE, or its own")


CLOUDS: dict[str, Key] = {
    "lambda": Key(LambdaSource, None, "machines of an account at Lambda"),
    "crusoe": Key(CrusoeSource, None, "machines of a project at Crusoe"),
}
# `lambda` can't be written as the name of an attribute
OneSource: type[Section] = type("OneSource", (Section,), dict(CLOUDS))


class Document(Section):
    """The whole file."""

    gateway = Key(GatewaySettings, {}, "the Beta9 gateway and its host")
    defaults = Key(Settings, {}, "settings of every host")
    groups = Key(ByName(GroupSettings), {}, "hosts with settings in common; a later one wins")
    hosts = Key(ByName(HostSettings), {}, "the workers")
    sources = Key(ListOf(OneSource), [], "clouds whose machines are workers too")


CONNECTION_KEYS = ("address", *Login.keys)
"""Settings that say how to reach a host; they are no variables."""

LOCAL_ARTIFACTS = ("lock", "push_dir")
"""Keys of `artifacts` that are paths on the controller."""

HOST_ONLY_KEYS = frozenset(HostSettings.keys) - frozenset(Settings.keys)
