"""The administrator's side of the gateway's machine API, with its errors understood."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from provisioner.gateway import errors
from provisioner.gateway.errors import GatewayError
from provisioner.secrets import Secret, revealed

Json = dict[str, Any]
TIMEOUT = 30.0  # well above the 5 s that some calls take at a gateway without a direct host
DEFAULT_LIMIT = 1000


@dataclass(frozen=True)
class Machine:
    """A machine record; `cpu` in millicores, `memory` in MiB, times in Unix seconds, 0 for never.

    `token` is there only when the machine was just created. The gateway shows it once.
    """

    id: str
    pool: str
    status: str
    gpu: str = ""
    gpu_count: int = 0
    cpu: int = 0
    memory: int = 0
    created: int = 0
    last_keepalive: int = 0
    agent_version: str = ""
    token: Secret | None = field(default=None, repr=False)
    metrics: Mapping[str, float] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pool:
    """A configured pool; `state` has the gateway's own counters."""

    name: str
    gpu: str = ""
    state: Mapping[str, Any] = field(default_factory=dict, repr=False)


class _Bearer(AuthBase):
    """The token as requests' own auth, so that no ~/.netrc puts another in its place."""

    def __init__(self, token: Secret | str) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {revealed(self._token)}"
        return request


class GatewayClient:
    """Calls a gateway at `base_url` (without /api/v1) as the holder of `token`.

    Give the `session` of `channel_http.session_over` to reach it through an SSH connection.
    """

    def __init__(
        self,
        base_url: str,
        token: Secret | str,
        session: requests.Session | None = None,
        timeout: float = TIMEOUT,
    ) -> None:
        self.base_url = base_url.rstrip("/")
        self._auth = _Bearer(token)
        self._session = session or requests.Session()
        self._timeout = timeout

    def health(self) -> None:
        """Return when the gateway is well; raise GatewayError otherwise."""
        status, body = self._call("GET", "/health")
        if status == 500 and body.get("status") == "not ok":
            raise GatewayError(
                "unhealthy",
                f"the gateway is not well: {body.get('error', 'no reason given')}",
                "look at the gateway and at its Redis",
            )
        if status != 200 or body.get("status") != "ok":
            raise errors.not_a_gateway(self.base_url, f"health answered {status}")

    def pools(self) -> list[Pool]:
        """The configured pools. The gateway can't tell while one of them never had a worker."""
        answer = self._admin("GET", "/gateway/pools")
        return [
            Pool(each["name"], each.get("gpu", ""), each.get("state") or {})
            for each in answer.get("pools") or []
        ]

    def create_machine(self, pool: str) -> Machine:
        """A new pending machine with its token."""
        answer = self._admin("POST", "/gateway/machines", pool, {"poolName": pool})
        return _machine(answer["machine"], "pending")

    def list_machines(self, pool: str, limit: int = DEFAULT_LIMIT) -> list[Machine]:
        """The pool's machines of every status; the gateway ignores `limit`, so it is kept here."""
        machines = self._list(pool, limit)
        if not machines:
            self._need_admin()
        return [_machine(each) for each in machines[:limit]]

    def delete_machine(self, machine_id: str, pool: str) -> None:
        """Delete the machine, which may be gone already. Its token stays valid."""
        # asked first, since the delete of a machine of a local pool crashes the gateway
        self._list(pool, 1)
        path = f"/gateway/machines/{quote(machine_id, safe='')}"
        self._admin("DELETE", path, pool, query={"poolName": pool})

    def _list(self, pool: str, limit: int) -> list[Json]:
        query: dict[str, str | int] = {"poolName": pool, "limit": limit}
        return list(self._admin("GET", "/gateway/machines", pool, query=query)["machines"] or [])

    def _need_admin(self) -> None:
        """A list asked with a machine's token is empty rather than refused; pools are refused."""
        try:
            self.pools()
        except GatewayError as error:
            if error.code != "pools_unready":
                raise

    def _admin(
        self,
        method: str,
        path: str,
        pool: str = "",
        body: Json | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> Json:
        status, answer = self._call(method, path, body, query)
        if status == 401:
            raise errors.bad_admin_token()
        text = str(answer.get("message", ""))
        if status == 500 and text.startswith("worker pool state not found"):
            raise errors.pools_unready(text)
        if status != 200:
            raise errors.not_a_gateway(
                self.base_url, f"{method} {path} answered {status} {text}".rstrip()
            )
        if not answer.get("ok"):
            raise self._refused(pool, str(answer.get("errMsg") or answer.get("errorMsg") or ""))
        return answer

    def _refused(self, pool: str, why: str) -> GatewayError:
        """What an error that came with status 200 means."""
        if "not permitted" in why:
            return errors.not_admin()
        if why.startswith("Invalid pool"):
            return errors.bad_pool(pool, self._pool_names())
        if why.startswith("Local pools"):
            return errors.local_pool(pool)
        return GatewayError("refused", f"the gateway refused: {why or 'no reason given'}")

    def _pool_names(self) -> list[str]:
        try:
            return [pool.name for pool in self.pools()]
        except GatewayError:
            return []

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str | int] | None = None,
    ) -> tuple[int, Json]:
        try:
            response = self._session.request(
                method,
                f"{self.base_url}/api/v1{path}",
                params=query,
                json=body,
                auth=self._auth,
                timeout=self._timeout,
                allow_redirects=False,  # the token is for this address and no other
            )
        except requests.RequestException as error:
            raise errors.unreachable(self.base_url, _reason(error)) from None
        try:
            answer = response.json()
        except ValueError:
            answer = None
        if not isinstance(answer, dict):
            raise errors.not_a_gateway(
                self.base_url, f"{method} {path} answered {response.status_code}, not in JSON"
            )
        return response.status_code, answer


def _machine(shown: Json, status: str = "") -> Machine:
    """A record as the gateway writes it: 64-bit numbers and times are texts, maybe empty."""
    token = shown.get("registrationToken")
    return Machine(
        id=shown["id"],
        pool=shown["poolName"],
        status=status or shown["status"],
        gpu=shown.get("gpu", ""),
        gpu_count=int(shown.get("gpuCount") or 0),
        cpu=int(shown.get("cpu") or 0),
        memory=int(shown.get("memory") or 0),
        created=int(shown.get("created") or 0),
        last_keepalive=int(shown.get("lastKeepalive") or 0),
        agent_version=shown.get("agentVersion", ""),
        token=Secret(token) if token else None,
        metrics={name: float(v) for name, v in (shown.get("machineMetrics") or {}).items()},
    )


# how urllib3 begins a reason: with the repr of its connection
_REPR = re.compile(r"^(<[^>]*>|\w+\([^)]*\)): ")


def _reason(error: requests.RequestException) -> str:
    """The innermost cause: requests and urllib3 wrap it in reprs of themselves."""
    inner: BaseException = error
    while True:
        reason = getattr(inner, "reason", None)
        following = reason if isinstance(reason, BaseException) else None
        if following is None and inner.args and isinstance(inner.args[0], BaseException):
            following = inner.args[0]
        if following is None:
            text = str(inner)
            return _REPR.sub("", text) or type(inner).__name__
        inner = following
