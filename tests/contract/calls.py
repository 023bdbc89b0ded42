"""The two sides of the API as the contract tests call them."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import requests

ADMIN = "contract-admin-token"  # of an embedded reference
URL = os.environ.get("B9_GATEWAY_URL", "")
POOL = os.environ.get("B9_GATEWAY_POOL", "gpu")
TIMEOUT = 20  # a registration takes 5 s at a gateway without a direct host


@dataclass
class Caller:
    """Speaks to the gateway as the holder of one token, or of none."""

    url: str
    token: str | None = None
    session: requests.Session = field(default_factory=requests.Session)

    def __call__(self, method: str, path: str, body: Any = None, raw: str | None = None) -> Any:
        """Status and JSON of one call."""
        headers = {"Content-Type": "application/json"}
        if self.token is not None:
            headers["Authorization"] = f"Bearer {self.token}"
        response = self.session.request(
            method,
            f"{self.url}/api/v1{path}",
            json=body if raw is None else None,
            data=raw,
            headers=headers,
            timeout=TIMEOUT,
        )
        return response.status_code, response.json()

    def like(self, token: str | None) -> Caller:
        """The same gateway with another token."""
        return Caller(self.url, token)


@dataclass
class Machine:
    """One machine made for a test, and its agent's calls."""

    call: Caller
    id: str
    pool: str = POOL

    def registration(self, **changes: Any) -> dict[str, Any]:
        """A right body, with changes; a change to `...` leaves the field out."""
        body = {
            "token": "k3s-bearer-token",
            "machine_id": self.id,
            "hostname": "127.0.0.1",
            "provider_name": "generic",
            "pool_name": self.pool,
            "cpu": "8000m",
            "memory": "16Gi",
            "gpu_count": "1",
            "private_ip": "192.168.1.5",
        }
        return {name: v for name, v in {**body, **changes}.items() if v is not ...}

    def register(self, **changes: Any) -> Any:
        """POST /machine/register."""
        return self.call("POST", "/machine/register", self.registration(**changes))

    def keepalive(self, **changes: Any) -> Any:
        """POST /machine/keepalive, with empty metrics."""
        body = {"machine_id": self.id, "provider_name": "generic", "pool_name": self.pool}
        body = {**body, "agent_version": "0.1", "metrics": {}, **changes}
        body = {name: v for name, v in body.items() if v is not ...}
        return self.call("POST", "/machine/keepalive", body)

    def shown(self, admin: Caller) -> dict[str, Any]:
        """The machine as the administrator sees it; empty when it is not listed."""
        _status, body = admin("GET", f"/gateway/machines?poolName={self.pool}&limit=1000")
        return next((each for each in body["machines"] if each["id"] == self.id), {})


def make(admin: Caller, pool: str = POOL) -> Machine:
    """A pending machine."""
    status, body = admin("POST", "/gateway/machines", {"poolName": pool})
    assert status == 200 and body["ok"], body
    created = body["machine"]
    return Machine(admin.like(created["registrationToken"]), created["id"], pool)
