"""The pods of the gateway's Jobs on this machine, as its own k3s tells of them.

Asked for as a table, which has neither the specification nor the environment of a pod: that of a
worker holds the gateway's whole configuration, its passwords with it.
Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#receiving-resources-as-tables
"""

from __future__ import annotations

import json
import re
from typing import Any, NamedTuple

from provisioner.agent.http import Endpoint, HTTPProblem, Response, exchange
from provisioner.agent.log import Log, one_line

PATH = "/api/v1/namespaces/default/pods?labelSelector=run.beam.cloud%2Frole%3Dworker&limit=500"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
DEADLINE = 5.0  # seconds
ENDED = ("Succeeded", "Completed", "Failed", "Error", "Evicted")
LOG = "/api/v1/namespaces/default/pods/{}/log?tailLines={}&limitBytes={}"
LOG_BYTES = 256 * 1024
LOG_LINES, MOST_LOG_LINES = 500, 10_000  # where none are asked for, and at the most
READ_BYTES = 1000 * 1024  # a k3s that is given a limit leaves out what comes last
NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?", re.ASCII)
_NO_TABLE = (HTTPProblem, ValueError, KeyError, TypeError, IndexError, RecursionError)


class PodsProblem(Exception):
    """The k3s does not tell; the text says why, in one line."""


class NoSuchPod(PodsProblem):
    """None of the gateway's Jobs has a pod of that name."""


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
        if not self.known:
            return []
        try:
            found = self.ask()
        except PodsProblem as problem:
            self._log.trouble("k3s", f"it does not tell of its pods: {problem}")
            return []
        self._log.trouble("k3s", "")
        return found

    @property
    def known(self) -> bool:
        """Whether there is a k3s that may be asked."""
        return bool(self._token and self._endpoint.ca)

    def ask(self) -> list[Pod]:
        """The pods now. Raises PodsProblem."""
        try:
            answer = self._get(PATH, TABLE)
            if answer.status != 200:
                raise HTTPProblem(f"status {answer.status}")
            table: Any = json.loads(answer.body)
            columns = [column["name"] for column in table["columnDefinitions"]]
            places = [columns.index(name) for name in ("Name", "Status", "Ready", "Age")]
            return [_pod(*(str(row["cells"][place]) for place in places)) for row in table["rows"]]
        except _NO_TABLE as problem:
            raise PodsProblem(one_line(str(problem))) from None

    def log(self, name: str, tail: int) -> bytes:
        """The last `tail` lines that a pod wrote, LOG_BYTES at most. Raises PodsProblem.

        Only of a pod of the gateway's Jobs: the k3s would show any other one's of the namespace.
        """
        if name not in [pod.name for pod in self.ask()]:
            raise NoSuchPod(f"there is no pod {name} of a Job of the gateway's")
        try:
            answer = self._get(LOG.format(name, tail, READ_BYTES), "*/*")
        except HTTPProblem as problem:
            raise PodsProblem(one_line(str(problem))) from None
        if answer.status in (200, 204):  # 204 of a pod that is on no node yet
            return answer.body[-LOG_BYTES:]
        why = _message(answer)
        raise NoSuchPod(why) if answer.status == 404 else PodsProblem(why)

    def _get(self, path: str, accept: str) -> Response:
        if not self.known:
            raise HTTPProblem("the agent has no token for this machine's k3s, or not its authority")
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        return exchange(self._endpoint, "GET", path, headers, timeout=DEADLINE)


def _message(answer: Response) -> str:
    """What the k3s says of why not."""
    try:
        return one_line(str(json.loads(answer.body)["message"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return f"status {answer.status}"


def counts(pods: list[Pod]) -> tuple[int, int]:
    """Of the pods those that have not ended, and the containers that run in them."""
    living = [pod for pod in pods if pod.status not in ENDED]
    return len(living), sum(pod.ready for pod in living)


def _pod(name: str, status: str, ready: str, age: str) -> Pod:
    now, _, most = ready.partition("/")
    return Pod(name, status, int(now), int(most or 0), age)
