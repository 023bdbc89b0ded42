"""The `b9agent` command: run (the default without a terminal), status, init, config, devices."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from provisioner.agent import VERSION, configfile
from provisioner.agent.config import config, sources
from provisioner.agent.flags import Flags, UsageError, parse
from provisioner.agent.log import MASK, Log, mask, masked
from provisioner.agent.settings import SETTINGS, BadSettings, Settings, Source, resolve

if TYPE_CHECKING:
    from provisioner.agent.bodies import Bodies
    from provisioner.agent.devices.nvidia import Nvidia

# of the hosted agent's guide; what joins a tailnet is not this agent
_TAILNET = ("tailscale-url", "tailscale-auth")
_SWITCHES = ("once", "dry-run", "debug", "tui", "no-tui", "no-color", "version", "help", "h")
_INIT = {"gateway": "HOST:PORT", "port": "PORT", "pool": "NAME"}

_HELP = """\
usage: b9agent [flags]              on a terminal: watch the agent that runs here, or run one
       b9agent run [flags]          register this machine and keep it ready
       b9agent status [--json]      how the running agent fares
       b9agent init --gateway HOST:PORT --token TOKEN --pool POOL [-y] [flags]
       b9agent config show [--json] | validate | set KEY=VALUE…
       b9agent devices [--json]     the accelerators here, and what is wrong with them

Flags may have one dash or two. They win over B9AGENT_* variables, which win over the file
(--config, else ~/.b9agent/config.yaml, else /etc/b9agent/config.yaml).

  --config PATH             settings file
  --once                    register, keep alive once, exit with 0 when ready
  --dry-run                 print the two requests, send nothing
  --debug                   say more
  --version                 print the version
  --no-tui, --tui=false     log lines on a terminal too, as `run` has them
  --no-color                no colours, as with NO_COLOR set
  --tailscale-url, --tailscale-auth   accepted for compatibility; b9agent joins no tailnet
"""


def main(arguments: list[str]) -> int:
    """Run `b9agent`; the exit code: 0 well, 1 not ready, 2 bad usage or settings."""
    commands: dict[str, Callable[[list[str]], int]] = {
        "run": run,
        "status": status,
        "init": init,
        "config": config,
        "devices": devices,
    }
    try:
        if arguments and not arguments[0].startswith("-"):
            if arguments[0] not in commands:
                raise UsageError(f"unknown command; there are: {', '.join(commands)}")
            return commands[arguments[0]](arguments[1:])
        return watch_or_run(arguments)
    except UsageError as problem:
        print(f"b9agent: {problem}", file=sys.stderr)
    except BadSettings as problem:
        for line in problem.problems:
            print(mask(f"b9agent: {line}"), file=sys.stderr)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return 2


def watch_or_run(arguments: list[str]) -> int:
    """Without a command: the terminal UI where there is a terminal, else `run`."""
    if sys.stdin is not None and sys.stdin.isatty():  # others need nothing of it
        from provisioner.agent import terminal

        flags = _run_flags(arguments)
        if not flags.words and terminal.on_terminal(flags):
            code = terminal.show(arguments, flags)
            if code is not None:
                return code
    return run(arguments)


def _run_flags(arguments: list[str]) -> Flags:
    return parse(arguments, ["config", *_TAILNET, *(s.flag for s in SETTINGS)], _SWITCHES)


def run(arguments: list[str]) -> int:
    """Register and keep alive, for ever or `--once`."""
    flags = _run_flags(arguments)
    if flags.switches.get("help") or flags.switches.get("h"):
        print(_HELP + "".join(_help_lines()), end="")
        return 0
    if flags.switches.get("version"):
        print(f"b9agent {VERSION}")
        return 0
    if flags.words:
        raise UsageError("unexpected argument after the flags")
    log = Log(flags.switches.get("debug", False))
    for name in _TAILNET:
        if flags.values.get(name):
            log.warning(f"--{name} does nothing: b9agent joins no tailnet")
    return _run(flags, log)


def _run(flags: Flags, log: Log) -> int:
    from provisioner.agent.devices import Tool
    from provisioner.agent.devices.nvidia import Nvidia
    from provisioner.agent.front import Front
    from provisioner.agent.runtime import ASKS, AlreadyRunning, Runtime, own_directory
    from provisioner.agent.service import Service

    settings = _settings(flags, log)
    gpus = Nvidia(Path("/"), Tool(), log)
    bodies = _bodies(settings, gpus, log)
    if not bodies.machine.mebibytes:
        raise BadSettings(["machine.memory (--memory) cannot be detected here: set it"])
    if flags.switches.get("dry-run"):
        _show_requests(settings, bodies.registration(), bodies.keepalive())
        return 0
    runtime = Runtime(own_directory(), log)
    try:
        runtime.acquire()
    except (AlreadyRunning, OSError) as problem:
        log.error(str(problem))
        return 1
    log.info(
        f"b9agent {VERSION}: machine {settings.machine_id}, pool {settings.pool}, "
        f"gateway {settings.gateway}, reached at {bodies.machine.hostname}"
    )
    if flags.switches.get("once"):
        return 0 if Service(settings, bodies, runtime, log).once() else 1
    front = Front(own_directory().with_name(ASKS), log)
    code = None
    while code is None:
        service = Service(settings, bodies, runtime, log, front.hub.tell)
        front.follow(settings, service.status)
        code = service.run()
        if code is None:
            before = log.troubles
            log.troubles = {}  # those that are still there come again
            try:
                settings = _settings(flags, log)
                bodies = _bodies(settings, gpus, log)
                log.info("the settings were read anew")
            except BadSettings as problem:
                for line in problem.problems:
                    log.error(f"{line}; the settings stay as they were")
                log.troubles = {**before, "new settings": "; ".join(problem.problems)}
    front.close()
    return code


def _bodies(settings: Settings, gpus: Nvidia, log: Log) -> Bodies:
    from provisioner.agent.bodies import Bodies
    from provisioner.agent.metrics import Metrics
    from provisioner.agent.pods import Pods

    pods = Pods(settings.k3s, settings.k3s_token, log)
    return Bodies(settings, gpus, Metrics(gpus, log, list_pods=pods.now))


def _settings(flags: Flags, log: Log) -> Settings:
    settings = resolve(sources(flags, log))
    if not settings.k3s_token:
        log.warning("no k3s token (k3s.token): the gateway will not be able to start work here")
    return settings


def _show_requests(settings: Settings, *bodies: dict[str, Any]) -> None:
    from provisioner.agent.gateway import PATHS

    scheme = "https" if settings.gateway.tls else "http"
    for path, body in zip(PATHS.values(), bodies):  # noqa: B905 (strict= needs Python 3.10)
        print(f"POST {scheme}://{settings.gateway}{path}\nAuthorization: Bearer {MASK}")
        print(mask(json.dumps(masked(body), indent=2)) + "\n")


def status(arguments: list[str]) -> int:
    """Print how the agent on this machine fares; 0 when it runs and is ready."""
    from provisioner.agent.runtime import SYSTEM_DIRECTORY, own_directory, read_state
    from provisioner.agent.service import age

    flags = parse(arguments, (), ("json",))
    if flags.words:
        raise UsageError("status takes no arguments")
    state = read_state([own_directory(), SYSTEM_DIRECTORY, Path("~/.b9agent").expanduser()])
    ready = bool(state and state["running"] and state.get("state") == "ready")
    if flags.switches.get("json"):
        print(json.dumps(state or {"schema": 1, "state": "absent", "running": False}))
    elif state is None:
        print("no b9agent runs here; where its service failed, journalctl -u b9agent says why")
    else:
        running = "" if state["running"] else " (not running any more)"
        print(f"state           {state.get('state')} since {age(state['since'])}{running}")
        for name in ("machine_id", "pool", "gateway", "hostname", "version"):
            print(f"{name.replace('_', ' '):15} {state.get(name)}")
        print(f"last keepalive  {age(state.get('last_keepalive'))}")
        if state.get("last_error"):
            print(f"last error      {state['last_error']}")
        for problem in state.get("problems", ()):
            print(f"problem         {problem}")
    return 0 if ready else 1


def devices(arguments: list[str]) -> int:
    """Print the accelerators of this machine."""
    from provisioner.agent.devices import show  # the running agent needs none of it

    return show.devices(arguments)


def init(arguments: list[str]) -> int:
    """Write `~/.b9agent/config.yaml` from flags."""
    flags = parse(arguments, [*_INIT, *(s.flag for s in SETTINGS)], ("y", "yes"))
    if flags.words:
        raise UsageError("init takes flags only")
    values = _init_values(flags)
    resolve([Source("flags", values, Path.cwd())])
    path = configfile.user_file()
    if configfile.is_there(path) and not (flags.switches.get("y") or flags.switches.get("yes")):
        raise UsageError(f"{path} exists; -y replaces it")
    try:
        configfile.write(path, values)
    except OSError as problem:
        print(f"b9agent: cannot write {path}: {problem.strerror}", file=sys.stderr)
        return 1
    print(f"machine {values['machine-id']}: settings written to {path}")
    return 0


def _init_values(flags: Flags) -> dict[str, str]:
    values = {name: text for name, text in flags.values.items() if name not in _INIT}
    if "pool" in flags.values:
        values["pool-name"] = flags.values["pool"]
    host, port = split_address(flags.values.get("gateway", ""))
    port = flags.values.get("port", port)
    if host:
        values["gateway-host"] = host
    if port:
        values["gateway-port"] = port
    if not values.get("gateway-host") or not (values.get("token") or values.get("token-file")):
        raise UsageError("init needs --gateway HOST:PORT and --token TOKEN")
    values.setdefault("machine-id", os.urandom(4).hex())
    return values


def split_address(text: str) -> tuple[str, str]:
    """HOST, HOST:PORT or [V6]:PORT as host and port; the port is empty when there is none."""
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        return host, port.lstrip(":")
    host, colon, port = text.rpartition(":")
    if not colon or ":" in host:
        return text, ""
    return host, port


def _help_lines() -> list[str]:
    return [
        f"  {'--' + s.flag + ' VALUE':27}{s.help}{f' ({s.default})' if s.default else ''}\n"
        for s in SETTINGS
    ]
