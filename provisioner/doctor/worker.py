"""What is wrong with a worker: its parts, its tunnel, its agent, its machine at the gateway."""

from __future__ import annotations

import time
from collections.abc import Iterator

from provisioner.doctor import tunnel
from provisioner.doctor.evidence import Fleet, Host, telling
from provisioner.doctor.findings import Finding, Repair
from provisioner.doctor.gateway import tsnet

BAD_SETTINGS = "2"  # the agent's exit code for them
STARTS = 3  # of a unit, without the host being booted: it can't be called running
_UP = "b9prov up INVENTORY --limit {}"


def findings(worker: Host, fleet: Fleet) -> Iterator[Finding]:
    """In the order in which one thing needs the other."""
    if not (worker.is_installed("b9agent") or worker.is_installed("b9-tunnel")):
        yield _not_installed(worker)
        return
    yield from _gpus(worker)
    yield from _k3s(worker)
    yield from _ollama(worker)
    yield from tunnel.findings(worker, fleet)
    agent = list(_agent(worker))
    yield from agent or _machine(worker, fleet)


def _not_installed(worker: Host) -> Finding:
    fix = _UP.format(worker.name)
    what, cause = "it is no worker", "`up` has not been run there, or `down` has"
    return Finding(
        worker.name,
        "B9-NOT-INSTALLED",
        what,
        cause,
        fix,
        ("there is neither b9-tunnel.service nor b9agent.service",),
    )


def restart(worker: Host, unit: str) -> Repair:
    """Start a unit anew, whatever systemd thinks of its past."""
    return Repair(worker.name, f"systemctl reset-failed {unit}; systemctl restart {unit}")


def _gpus(worker: Host) -> Iterator[Finding]:
    failed = [
        row
        for row in worker.seen.get("gpus", ())
        if not row.get("ok") and row.get("severity") == "error"
    ]
    if failed:
        rows = [f"{row['name']}: found {row['found']}, wanted {row['wanted']}" for row in failed]
        fix = "; ".join(dict.fromkeys(str(row["fix"]) for row in failed if row.get("fix")))
        yield Finding(
            worker.name,
            "B9-GPU",
            "its GPUs can't be used",
            "the first of these is the reason for those below it",
            fix or "b9prov check gpu INVENTORY",
            tuple(rows),
        )


def _k3s(worker: Host) -> Iterator[Finding]:
    settings = worker.part("k3s")
    if not settings.get("enabled"):
        return
    unit = "k3s-agent" if settings.get("mode") == "join" else "k3s"
    own = worker.seen.get("own") or {}
    answers = bool(own.get("sha256")) or settings.get("mode") == "join"
    if settings.get("mode") == "existing":
        if not answers:
            yield Finding(
                worker.name,
                "B9-K3S-DOWN",
                f"the Kubernetes at {settings.get('api')} does not answer",
                "it does not run, or k3s.api is wrong",
                "start it; or correct k3s.api",
                (str(own.get("msg", "")),),
            )
    elif not worker.is_installed(unit):
        what, cause = "k3s is not installed", "`up` did not come so far, or somebody took it away"
        yield Finding(worker.name, "B9-K3S-DOWN", what, cause, _UP.format(worker.name))
    elif not (worker.runs(unit) and answers):
        yield Finding(
            worker.name,
            "B9-K3S-DOWN",
            "k3s does not run" if not worker.runs(unit) else "k3s runs and does not answer",
            _why_ended(worker, unit),
            f"systemctl restart {unit}; journalctl -u {unit}",
            (*telling(worker, unit), *filter(None, [str(own.get("msg", ""))])),
            repairs=(restart(worker, unit),),
        )


def _ollama(worker: Host) -> Iterator[Finding]:
    settings, answer = worker.part("ollama"), worker.seen.get("ollama") or {}
    if not settings.get("enabled") or answer.get("status") == 200:
        return
    if not worker.is_installed("ollama"):
        what, cause = "Ollama is not installed", "`up` did not come so far, or it was taken away"
        yield Finding(worker.name, "B9-OLLAMA-DOWN", what, cause, _UP.format(worker.name))
        return
    yield Finding(
        worker.name,
        "B9-OLLAMA-DOWN",
        "Ollama does not run" if not worker.runs("ollama") else "Ollama runs and does not answer",
        _why_ended(worker, "ollama"),
        "systemctl restart ollama; journalctl -u ollama",
        (*telling(worker, "ollama"), str(answer.get("msg", ""))),
        repairs=(restart(worker, "ollama"),),
    )


def _why_ended(worker: Host, unit: str) -> str:
    known = worker.unit(unit)
    if known.get("ActiveState") == "inactive" and known.get("Result") == "success":
        return "somebody stopped it, or it is not enabled and the host was booted"
    if known.get("Result") == "oom-kill":
        return "it used more memory than there was"
    if known.get("ActiveState") == "active":
        return "it hangs, is still starting, or listens elsewhere"
    return "it fails; the end of its journal says why"


def _agent(worker: Host) -> Iterator[Finding]:
    """Whether the agent runs; what it says is `_machine`'s."""
    known, unit = worker.unit("b9agent"), "b9agent"
    fails = "exit-code" in str(known.get("Result")) or known.get("SubState") == "auto-restart"
    if not worker.is_installed(unit):
        what, cause = "the agent is not installed", "`up` did not come so far, or it was taken away"
        yield Finding(worker.name, "B9-AGENT-DOWN", what, cause, _UP.format(worker.name))
    elif not worker.runs(unit) and known.get("ExecMainStatus") == BAD_SETTINGS:
        yield Finding(
            worker.name,
            "B9-AGENT-CONFIG",
            "the agent can't use its settings",
            "/etc/b9agent/config.yaml was changed, or is damaged",
            f"b9agent config validate says what is wrong; {_UP.format(worker.name)} writes it anew",
            tuple(telling(worker, unit)),
        )
    elif not worker.runs(unit) and fails:
        yield Finding(
            worker.name,
            "B9-AGENT-CRASH",
            "the agent starts and ends again",
            "its program is damaged, or it meets what it does not expect; its journal has it",
            f"journalctl -u b9agent; {_UP.format(worker.name)} writes its program anew",
            tuple(telling(worker, unit)),
            repairs=(restart(worker, unit),),
        )
    elif not worker.runs(unit):
        yield Finding(
            worker.name,
            "B9-AGENT-DOWN",
            "the agent does not run",
            _why_ended(worker, unit),
            "systemctl restart b9agent",
            tuple(telling(worker, unit)),
            repairs=(restart(worker, unit),),
        )


def _machine(worker: Host, fleet: Fleet) -> Iterator[Finding]:
    """What agent and gateway say of each other."""
    yield from _problems(worker)
    state, error = worker.agent.get("state"), str(worker.agent.get("last_error") or "")
    refusal = _refusal(worker, error) if state != "ready" or error else None
    if refusal:
        yield refusal
        return
    record = fleet.machine(worker)
    listed = "" if record is None else str(record.get("status") or "not listed")
    if state == "ready" and listed in ("", "ready"):
        return
    again = restart(worker, "b9agent")
    fix, shown = "systemctl restart b9agent, which registers it again", tuple(_standing(worker))
    if (listed not in ("", "ready") and state == "ready") or "machine not found" in error:
        yield Finding(
            worker.name,
            "B9-EXPIRED",
            f"the gateway has forgotten the machine: it is {listed or 'not known'} there",
            "its state expired after 300 s without a keepalive, or somebody deleted the record",
            fix,
            (*shown, f"gateway: machine {worker.agent.get('machine_id')} is {listed}"),
            repairs=(again,),
        )
        return
    what = f"the machine is not ready, but {state or 'unknown'}"
    cause = "the agent has not come through to the gateway yet"
    yield Finding(worker.name, "B9-NOT-READY", what, cause, fix, shown, repairs=(again,))


def _standing(worker: Host) -> Iterator[str]:
    agent = worker.agent
    last = agent.get("last_keepalive")
    age = f"{time.time() - float(last):.0f} s ago" if last else "never"
    yield f"b9agent: {agent.get('state') or 'tells nothing'}, last keepalive {age}"
    if agent.get("last_error"):
        yield f"b9agent: {agent['last_error']}"


def _problems(worker: Host) -> Iterator[Finding]:
    """What the agent says is amiss though the machine is kept alive."""
    for problem in map(str, worker.agent.get("problems") or ()):
        if problem.startswith("gateway:"):
            yield tsnet(worker.name, [f"b9agent: {problem}"])
        if problem.startswith("k3s:") and any(code in problem for code in ("401", "403")):
            yield Finding(
                worker.name,
                "B9-K3S-TOKEN",
                "its k3s refuses the token that the gateway was given",
                "k3s was set up anew, or the token was taken back, since the agent got it",
                f"{_UP.format(worker.name)}; or b9prov gateway rotate-tokens for new ones",
                (f"b9agent: {problem}",),
            )


def _refusal(worker: Host, error: str) -> Finding | None:
    """What the gateway's errors really mean; the names that its own documents give mislead."""
    shown, name = tuple(_standing(worker)), worker.name
    again = (restart(worker, "b9agent"),)
    if "HTTP 401" in error:
        cause = "its record was made at another gateway, or the gateway's database was set up anew"
        fix = f"{_UP.format(name)} makes a new record"
        what = "the gateway does not know the machine's token"
        return Finding(name, "B9-TOKEN-UNKNOWN", what, cause, fix, shown, repairs=again)
    if "HTTP 403" in error:
        cause = "the token is an administrator's or a workspace's; it has not expired: none does"
        fix = f"set machine_token to the token of its record; or {_UP.format(name)}"
        what = "the token is not a machine's"
        return Finding(name, "B9-TOKEN-KIND", what, cause, fix, shown, repairs=again)
    if "Invalid pool name" in error:
        cause = "the pool is not in the gateway's configuration"
        fix = "correct `pool` in the inventory, or add it under worker.pools at the gateway"
        what = f"the gateway has no pool {worker.agent.get('pool')}"
        return Finding(name, "B9-POOL-UNKNOWN", what, cause, fix, shown)
    if "HTTP 400" in error or "Invalid " in error:
        cause = "cpu must be whole millicores, memory whole Gi or Mi, gpu_count a number as text"
        fix = f"b9agent config show; {_UP.format(name)} writes its settings anew"
        what = "the gateway refuses what the machine says of itself"
        return Finding(name, "B9-PAYLOAD", what, cause, fix, shown)
    if "HTTP 5" in error and "machine not found" not in error:
        cause = "mostly its Redis or database; “Failed to register machine” is that too"
        fix = "kubectl logs -n beta9 -l app=gateway --tail=50"
        what = "the gateway fails at its own work"
        return Finding(name, "B9-GATEWAY-ERROR", what, cause, fix, shown)
    return None
