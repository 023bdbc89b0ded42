"""Events that the tests of the reports share."""

from __future__ import annotations

from provisioner.engine.events import (
    Event,
    HostConnected,
    HostSummary,
    HostUnreachable,
    PlayStarted,
    RunFinished,
    RunStarted,
    TaskFinished,
    TaskProgress,
    TaskStarted,
)

PLAY = "make workers ready"
WHERE = "roles/k3s/tasks/main.yaml:12"


def rerun(hosts: list[str]) -> str:
    return f"b9prov up inventory.yaml --limit {','.join(hosts)}"


def finished(
    host: str,
    task: str,
    status: str,
    result: dict | None = None,
    *,
    module: str = "command",
    seconds: float = 1.2,
    item: str | None = None,
    delegated_to: str | None = None,
) -> TaskFinished:
    return TaskFinished(
        host, PLAY, task, module, WHERE, status, seconds, result or {}, item, delegated_to
    )


FAILURE = finished(
    "w2",
    "k3s : install k3s",
    "failed",
    {
        "msg": "non-zero return code",
        "cmd": ["install", "k3s", "/usr/local/bin dir"],
        "rc": 23,
        "stderr": "\n".join(f"\x1b[31mline {index}\x1b[0m" for index in range(1, 25)),
        "advice": "free 3 GiB on /usr",
    },
    seconds=12.3,
)


def run(check: bool = False) -> list[Event]:
    """One host changed, one failed, one unreachable."""
    return [
        RunStarted("up.yaml", ("w1", "w2", "w3"), check),
        PlayStarted(PLAY, ("w1", "w2", "w3")),
        HostConnected("w1", 0.4),
        HostConnected("w2", 0.5),
        HostUnreachable("w3", "connection refused", "is sshd running there?"),
        TaskStarted("w1", "k3s : configure k3s", "template", WHERE),
        TaskStarted("w1", "k3s : install k3s", "command", WHERE),
        finished("w1", "preflight : disk", "ok", {"msg": "12 GiB free"}),
        finished("w1", "k3s : configure k3s", "changed", DIFF, module="template"),
        finished("w1", "k3s : install k3s", "changed", item="amd64", delegated_to="gateway"),
        TaskProgress("w1", "ollama : pull", 512, 2048, "model"),
        finished("w1", "nvidia : driver", "skipped"),
        finished("w1", "k3s : probe", "ignored", {"msg": "not there yet", "rc": 1}),
        FAILURE,
        RunFinished(SUMMARY, 41.5),
    ]


DIFF = {
    "changed": True,
    "diff": {"before": "a: 1\nb: 2\n", "after": "a: 1\nb: 3\n", "path": "/etc/k3s.yaml"},
}
SUMMARY = {
    "w1": HostSummary(ok=2, changed=2, skipped=1),
    "w2": HostSummary(ok=4, failed=1, reason="k3s : install k3s: non-zero return code"),
    "w3": HostSummary(unreachable=True, reason="connection refused", advice="is sshd running?"),
}
