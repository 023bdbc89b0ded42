"""`b9prov infer`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from provisioner.agent.http import Endpoint
from provisioner.agent.tui.client import Client as Agent
from provisioner.cli.asking import with_passwords
from provisioner.cli.failures import FAILED, say
from provisioner.cli.options import EXTRA_VARS, PATH, Request, host_keys_option, output_option
from provisioner.cli.sources import one_host, read_inventory
from provisioner.cli.trial import Ended, Trial
from provisioner.cli.tunnel import far_end
from provisioner.dashboard.reach import LOOPBACK, dial
from provisioner.inference import Address
from provisioner.inventory import Host, parse_extra
from provisioner.report.text import clean
from provisioner.ssh.connect import connect, hang_up
from provisioner.ssh.forward import Forward

PROMPT = "Say hello in one short sentence."
_WIDTH = 50  # where the marks stand


@click.command(short_help="Try a worker's inference, from start to stop, with its latencies.")
@click.argument("inventory", type=PATH)
@click.argument("host")
@click.option("--model", help="By default: the first of ollama.models, or the first that is there.")
@click.option("--prompt", default=PROMPT, show_default=True, help="What the model is asked.")
@click.option(
    "--requests",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="How many the latency is measured by.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    metavar="SECONDS",
    help="For the start, and for each answer.",
)
@EXTRA_VARS
@host_keys_option
@output_option("plain", "json")
def infer(
    inventory: Path,
    host: str,
    model: str | None,
    prompt: str,
    requests: int,
    timeout: float,
    extra_vars: tuple[str, ...],
    host_keys: str,
    output: str | None,
) -> int:
    """Have the agent of HOST start Ollama, ask a model, measure it, and stop Ollama again.

    All of it goes through SSH to HOST's loopback. An Ollama that ran before is left running. The
    exit code is 0 when every step went well.
    """
    request = Request(inventory=inventory, limit=host, extra_vars=extra_vars, host_keys=host_keys)
    loaded = with_passwords(read_inventory(inventory, parse_extra(list(extra_vars))), request)
    chosen = one_host(loaded, host)
    far = far_end(chosen, "ollama")
    connection = connect(chosen, host_keys)
    show = _show if output != "json" else _show_nothing
    try:
        with Forward(connection.transport, far) as forward:
            address = Address(LOOPBACK, forward.port, timeout)
            port = int(chosen.variables["agent"]["control_port"])
            agent = port and Agent(
                Endpoint(LOOPBACK, port), dial=lambda wait: dial(connection, port, wait)
            )
            wanted = model or next(iter(_listed(chosen)), None)
            trial = Trial(agent or None, address, wanted, prompt, requests)
            steps = trial.run(show)
    finally:
        hang_up(connection)
    failed = [step for step in steps if not step.ok]
    if output == "json":
        shown = {"schema": 1, "host": chosen.name, "ok": not failed, **trial.found}
        click.echo(json.dumps(shown | {"steps": [step._asdict() for step in steps]}))
    else:
        if trial.found["answer"]:
            click.echo(f"{trial.found['model']}: {clean(trial.found['answer']).strip()}")
        for step in failed:
            say(f"{chosen.name}: {step.what}: {step.detail}")
    return FAILED if failed else 0


def _listed(host: Host) -> list[str]:
    """The inventory's models, without their digests."""
    return [str(name).partition("@")[0] for name in host.variables["ollama"]["models"]]


def _show(step: Ended) -> None:
    mark = ("✓" if step.ok else "✗") if _can_show("✓✗") else ("ok" if step.ok else "FAILED")
    head = f"[{step.number}/6] {step.what}..."
    detail = clean(step.detail) if step.ok else ""
    click.echo(f"{head:{_WIDTH}}{mark} {step.seconds:6.2f} s  {detail}".rstrip())


def _show_nothing(step: Ended) -> None:
    """For JSON, which comes at the end."""


def _can_show(marks: str) -> bool:
    try:
        marks.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True
