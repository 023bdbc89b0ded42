"""The command lines of the published guides, word for word but for the program's name."""

from __future__ import annotations

import itertools
import shlex

import pytest
from agent_process import K3S_TOKEN, TOKEN, Agent, stop
from agent_scripted import ScriptedGateway

# the Python agent, for external workers; the port is the tunnel's there
EXTERNAL = """
    --token "{token}" \
    --machine-id "1165a9b6" \
    --pool-name gpu \
    --gateway-host localhost \
    --gateway-port {port}
"""
# the hosted agent, for on-prem machines; it is told of no gateway
ON_PREM = """--token "{token}" \
    --machine-id "c11d3030" \
    --tailscale-url "" \
    --tailscale-auth "tskey-auth" \
    --pool-name "my-h100-pool" \
    --provider-name "generic"
"""
# the Go agent
INIT = """init \
  --gateway 127.0.0.1:{port} \
  --token {token} \
  --pool external
"""
# every flag of the Go agent, with its default where it has one
GO = {
    "debug": "true",
    "dry-run": "false",
    "gateway-host": "127.0.0.1",
    "gateway-port": "{port}",
    "hostname": "100.1.2.3",
    "k3s-token": K3S_TOKEN,
    "keepalive-interval": "60",
    "machine-id": "e13daa82",
    "once": "true",
    "pool-name": "external",
    "provider-name": "generic",
    "token": TOKEN,
    "tui": "true",
}
SWITCHES = ("debug", "dry-run", "once", "tui")


def words(line: str, port: int) -> list[str]:
    return shlex.split(line.format(token=TOKEN, port=port))


def test_the_guide_for_external_workers(agent: Agent, gateway: ScriptedGateway) -> None:
    process = agent.start(*words(EXTERNAL, gateway.port))
    gateway.wait_for(2)
    agent.wait_for_state("ready")
    stop(process)
    assert process.returncode == 0
    register, keepalive = (request.body for request in gateway.requests)
    assert (register["machine_id"], register["pool_name"]) == ("1165a9b6", "gpu")
    assert keepalive["provider_name"] == "generic"
    assert gateway.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("more", [["--debug"], ["--once"], ["--debug", "--once"]])
def test_its_switches(agent: Agent, gateway: ScriptedGateway, more: list[str]) -> None:
    once = [] if "--once" in more else ["--once"]
    assert agent.finish(*words(EXTERNAL, gateway.port), *more, *once)[0] == 0


def test_the_guide_for_on_prem_machines(agent: Agent, gateway: ScriptedGateway) -> None:
    port = {"B9AGENT_GATEWAY_PORT": str(gateway.port)}
    code, out, err = agent.finish(*words(ON_PREM, 0), "--once", **port)
    assert code == 0, err
    body = gateway.requests[0].body
    assert (body["machine_id"], body["pool_name"]) == ("c11d3030", "my-h100-pool")
    assert "--tailscale-auth does nothing: b9agent joins no tailnet" in err
    assert "--tailscale-url" not in err
    assert "tskey-auth" not in out + err


def test_the_guide_of_the_go_agent(agent: Agent, gateway: ScriptedGateway) -> None:
    code, _, err = agent.finish(*words(INIT, gateway.port))
    assert code == 0, err
    process = agent.start()
    gateway.wait_for(2)
    agent.wait_for_state("ready")
    stop(process)
    assert gateway.requests[0].body["pool_name"] == "external"


@pytest.mark.parametrize(("dashes", "joined"), [*itertools.product(("-", "--"), (True, False))])
def test_all_flags_of_the_go_agent(
    agent: Agent, gateway: ScriptedGateway, dashes: str, joined: bool
) -> None:
    given = {name: value.format(port=gateway.port) for name, value in GO.items()}
    argv: list[str] = []
    for name, value in given.items():
        together = joined or name in SWITCHES  # Go reads the value of a switch after = alone
        argv += [f"{dashes}{name}={value}"] if together else [f"{dashes}{name}", value]
    code, _, err = agent.finish(*argv)
    assert code == 0, err
    body = gateway.requests[0].body
    sent = {name: given[name.replace("_", "-")] for name in ("hostname", "machine_id", "pool_name")}
    assert sent.items() <= body.items()
    assert body["token"] == K3S_TOKEN
    assert agent.finish(f"{dashes}version")[0] == 0


@pytest.mark.parametrize("dash", ["-", "--"])
def test_all_flags_of_its_init(agent: Agent, gateway: ScriptedGateway, dash: str) -> None:
    flags = {
        "gateway": "127.0.0.1",
        "port": str(gateway.port),
        "hostname": "100.1.2.3",
        "k3s-token": K3S_TOKEN,
        "machine-id": "1c1b50c8",
        "pool": "gpu",
        "token": TOKEN,
    }
    argv = [word for name, value in flags.items() for word in (f"{dash}{name}", value)]
    assert agent.finish("init", *argv, f"{dash}y")[0] == 0
    assert agent.finish("--once")[0] == 0
    body = gateway.requests[0].body
    assert (body["machine_id"], body["hostname"]) == ("1c1b50c8", "100.1.2.3")
    assert (body["pool_name"], body["token"]) == ("gpu", K3S_TOKEN)


def test_the_file_that_the_go_agents_readme_shows(agent: Agent, gateway: ScriptedGateway) -> None:
    path = agent.home / ".b9agent/config.yaml"
    path.parent.mkdir()
    path.write_text(f"""gateway:
  host: "127.0.0.1"
  port: {gateway.port}
machine:
  id: "159ecc90"
  token: "{TOKEN}"
  hostname: "100.100.74.117"
pool: "external"
k3s:
  token: "{K3S_TOKEN}"
""")
    path.chmod(0o600)
    code, _, err = agent.finish("--once")
    assert (code, "unknown key" in err) == (0, False)
    assert gateway.requests[0].body["hostname"] == "100.100.74.117"
