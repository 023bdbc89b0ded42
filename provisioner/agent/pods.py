"""The pods of the gateway's Jobs on this machine, as its own k3s tells of them.

Asked for as a table, which has neither the specification nor the environment of a pod: that of a
worker holds the gateway's whole configuration, its passwords with it.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from provisioner.agent.http import Endpoint, HTTPProblem, exchange
from provisioner.agent.log import Log, one_line

PATH = "/api/v1/namespaces/default/pods?labelSelector=run.beam.cloud%2Frole%3Dworker&limit=500"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DEADLINE = 5.0  # seconds
ENDED = ("Succeeded", "Completed", "Failed", "Error", "Evicted")
_NO_TABLE = (HTTPProblem, ValueError, KeyError, TypeError, IndexError, RecursionError)


class Pod(NamedTuple):
    """A pod: `status` as kubectl shows it, `ready` of `containers`, `age` in words."""

    name: str
    status: str
    ready: int
    containers: int
    age: str


class Pods:
    """Asks the k3s at `endpoint`, as who has `token`; without one, or an authority by which to
    know the k3s, there are none."""

    def __init__(self, endpoint: Endpoint, token: str, log: Log) -> None:
        self._endpoint, self._token, self._log = endpoint, token, log

    def now(self) -> list[Pod]:
        """The pods now; none where the k3s does not tell, which is said once."""
        if not (self._token and self._endpoint.ca):
            return []
        try:
            found = self._ask()
        except (
            HTTPProblem,
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            RecursionError,
        ) as problem:
            self._log.trouble("k3s", f"it does not tell of its pods: {one_line(str(problem))}")
            return []
        self._log.trouble("k3s", "")
        return found

    def _ask(self) -> list[Pod]:
        headers = {"Authorization": f"Bearer {self._token}", "Accept": TABLE}
        answer = exchange(self._endpoint, "GET", PATH, headers, timeout=DEADLINE)
        if answer.status != 200:
            raise HTTPProblem(f"status {answer.status}")
        table: Any = json.loads(answer.body)
        columns = [column["name"] for column in table["columnDefinitions"]]
        places = [columns.index(name) for name in ("Name", "Status", "Ready", "Age")]
        return [_pod(*(str(row["cells"][place]) for place in places)) for row in table["rows"]]


def counts(pods: list[Pod]) -> tuple[int, int]:
    """Of the pods those that have not ended, and the containers that run in them."""
    living = [pod for pod in pods if pod.status not in ENDED]
    return len(living), sum(pod.ready for pod in living)


def _pod(name: str, status: str, ready: str, age: str) -> Pod:
    now, _, most = ready.partition("/")
    return Pod(name, status, int(now), int(most or 0), age)
