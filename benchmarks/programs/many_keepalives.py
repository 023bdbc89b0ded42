"""Sends keepalives by the agent's own code, one right after the other, and tells what is left.

    many_keepalives.py ZIPAPP CONFIG COUNT

Prints a JSON object: `many_growth_mb` after the first thousand, `keepalive_bytes` of the longest
one with its head.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

WARM = 1000


def main() -> None:
    """Register, keep alive, print."""
    zipapp, config, count = sys.argv[1:]
    sys.path.insert(0, zipapp)
    from provisioner.agent import configfile, http
    from provisioner.agent.bodies import Bodies
    from provisioner.agent.devices import Tool
    from provisioner.agent.devices.nvidia import Nvidia
    from provisioner.agent.gateway import Gateway
    from provisioner.agent.log import Log
    from provisioner.agent.metrics import Metrics
    from provisioner.agent.pods import Pods
    from provisioner.agent.settings import resolve
    from provisioner.agent.states import Action, Answer

    log = Log()
    settings = resolve([configfile.load(Path(config), log)])
    gpus = Nvidia(Path("/"), Tool(), log)
    pods = Pods(settings.k3s, settings.k3s_token, log)
    bodies = Bodies(settings, gpus, Metrics(gpus, log, list_pods=pods.now))
    gateway = Gateway(settings.gateway, settings.token)
    sizes = []
    made = http._request

    def noted(*parts: object) -> bytes:
        request = made(*parts)  # type: ignore[arg-type]
        sizes.append(len(request))
        return request

    http._request = noted
    assert gateway.send(Action.REGISTER, bodies.registration()).answer is Answer.OK
    sizes.clear()
    first = 0.0
    longest = 0
    for number in range(int(count)):
        verdict = gateway.send(Action.KEEPALIVE, bodies.keepalive())
        assert verdict.answer is Answer.OK, verdict
        longest, _ = max(longest, sizes[-1]), sizes.clear()
        if number == min(WARM, int(count) // 2):
            first = _resident_mb()
    growth = round(_resident_mb() - first, 2)
    print(json.dumps({"many_growth_mb": growth, "keepalive_bytes": longest}))


def _resident_mb() -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) * 1024 / 1e6


if __name__ == "__main__":
    main()
