"""A worker's machine record at the Beta9 gateway; runs on the gateway host.

Not of Ansible. Arguments: `worker, pool, api, admin_token, state, state_file, provider`.
The gateway never shows a machine's token again, so it is kept here, in `state_file`.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from provisioner.remote import statefile
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "worker": Argument("str", required=True, aliases=("name",)),
    "pool": Argument("str"),
    "api": Argument("str", default="localhost:31994"),
    "admin_token": Argument("str", required=True, secret=True),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "state_file": Argument("str", default="/var/lib/b9prov/machines.json"),
    "provider": Argument("str", default="generic"),
}
NEW = "(new)"
TIMEOUT = 30.0
INTENT_WINDOW = 2 * TIMEOUT  # a killed run's create happened within this time, or never
LOCAL_POOL = "Local pools"
ADMIN_ADVICE = "gateway.admin_token must be the cluster admin's token of this gateway"


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make sure the worker has a machine whose token the gateway accepts, or has none."""
    path = Path(arguments["state_file"])
    if arguments["state"] == "absent" and not path.exists():
        return {"changed": False, "machine_id": ""}
    with (
        nullcontext()
        if context.check
        else statefile.locked(path, f"machine of {arguments['worker']}")
    ):
        task = Task(arguments, context.check, path)
        result = task.present() if arguments["state"] == "present" else task.absent()
    if context.diff:
        result["diff"] = {"before": task.before, "after": task.after(), "path": str(path)}
    return result


class Task:
    """One run of the module, under the lock."""

    def __init__(self, arguments: dict[str, Any], check: bool, path: Path) -> None:
        self.worker: str = arguments["worker"]
        self.pool: str = arguments["pool"] or ""
        self.provider: str = arguments["provider"]
        self.check = check
        self.path = path
        self.api = Api(arguments["api"], arguments["admin_token"])
        self.state = statefile.load(path)
        self.machines: dict[str, Any] = self.state.setdefault("machines", {})
        self.before = self.after()

    def after(self) -> str:
        """The worker's record as a diff shows it, without its token."""
        entry = self.machines.get(self.worker)
        return f"{self.worker}: machine {entry['machine_id']} in {entry['pool']}\n" if entry else ""

    def present(self) -> Result:
        """The machine recorded before if it still serves, else a new one."""
        if not self.pool:
            raise ModuleFailed("pool is required")
        self.end_killed_run()
        entry = self.machines.get(self.worker)
        if entry and entry["pool"] == self.pool and self.api.accepts(entry["machine_token"]):
            return self._result(False, entry)
        known = self.api.list(self.pool)
        if self.check:
            entry = {"pool": self.pool, "machine_id": NEW, "machine_token": NEW}
            self.machines[self.worker] = entry
            return self._result(True, entry)
        if entry:
            self._delete(entry["pool"], entry["machine_id"])
        return self._result(True, self._create(known))

    def _create(self, known: list[dict[str, Any]]) -> dict[str, Any]:
        self.state["intent"] = {
            "worker": self.worker,
            "pool": self.pool,
            "since": int(time.time()),
            "known_ids": [machine["id"] for machine in known],
        }
        self._save()
        created = self.api.create(self.pool)
        entry = {
            "pool": self.pool,
            "provider": self.provider,
            "machine_id": created["id"],
            "machine_token": created["registrationToken"],
        }
        self.machines[self.worker] = entry
        del self.state["intent"]
        self._save()
        return entry

    def end_killed_run(self) -> None:
        """Delete what a run made that was killed before it could write it down."""
        intent = self.state.get("intent")
        if not intent or self.check:
            return
        ours = {*intent["known_ids"], *(each["machine_id"] for each in self.machines.values())}
        # a pool that has left the gateway's configuration has nothing left to delete
        for machine in self.api.listing(intent["pool"]).get("machines") or []:
            age = int(machine.get("created") or 0) - intent["since"]
            pending = machine["status"] == "pending" and machine["id"] not in ours
            if pending and 0 <= age <= INTENT_WINDOW:
                self._delete(intent["pool"], machine["id"])
        del self.state["intent"]
        self._save()

    def absent(self) -> Result:
        """Delete the worker's machine; only ever one that this module made."""
        self.end_killed_run()
        entry = self.machines.get(self.worker)
        if entry:
            if not self.check:
                self._delete(entry["pool"], entry["machine_id"])
            del self.machines[self.worker]
            if not self.check:
                self._save()
        return {"changed": entry is not None, "machine_id": entry["machine_id"] if entry else ""}

    def _delete(self, pool: str, machine_id: str) -> None:
        """Ask first whether the pool still tracks machines: the question that kills is not put."""
        listed = self.api.listing(pool)
        if listed.get("ok"):
            self.api.delete(pool, machine_id)
        elif "permitted" in str(listed.get("errMsg")):
            raise ModuleFailed("the token is not a cluster admin's", advice=ADMIN_ADVICE)

    def _result(self, changed: bool, entry: dict[str, Any]) -> Result:
        return {
            "changed": changed,
            "machine_id": entry["machine_id"],
            "machine_token": entry["machine_token"],
            "pool": entry["pool"],
            "_secrets": ["machine_token"] if entry["machine_token"] != NEW else [],
        }

    def _save(self) -> None:
        statefile.save(self.path, self.state, 0o600)


class Api:
    """The few calls needed, over the standard library."""

    def __init__(self, address: str, admin_token: str) -> None:
        self.base = address.rstrip("/") if "://" in address else f"http://{address}"
        self._admin = admin_token
        # a proxy of the host's environment has no business between a host and itself
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def accepts(self, token: str) -> bool:
        """Whether a machine token is still good. Asks for no pool: that list holds secrets."""
        status, body = self._call("GET", "/machine/list", token)
        if status in (401, 403):
            return False
        if status != 200:
            raise self._unexpected("checking the machine's token", status, body)
        return True

    def listing(self, pool: str) -> dict[str, Any]:
        """The answer to a list of the pool's machines, good or bad."""
        query = urllib.parse.urlencode({"poolName": pool, "limit": 1000})
        return self._admin_call("GET", f"/gateway/machines?{query}")

    def list(self, pool: str) -> list[dict[str, Any]]:
        """The pool's machines; fails for pools in which machines can't be made."""
        answer = self.listing(pool)
        if not answer.get("ok"):
            raise self._refused(pool, str(answer.get("errMsg")))
        return list(answer.get("machines") or [])

    def create(self, pool: str) -> dict[str, Any]:
        """A new pending machine with its token."""
        answer = self._admin_call("POST", "/gateway/machines", {"poolName": pool})
        if not answer.get("ok"):
            raise self._refused(pool, str(answer.get("errMsg")))
        return dict(answer["machine"])

    def delete(self, pool: str, machine_id: str) -> None:
        """Delete one machine; it may be gone already."""
        path = f"/gateway/machines/{urllib.parse.quote(machine_id, safe='')}"
        answer = self._admin_call("DELETE", f"{path}?{urllib.parse.urlencode({'poolName': pool})}")
        if not answer.get("ok"):
            raise self._refused(pool, str(answer.get("errMsg")))

    def _admin_call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        status, answer = self._call(method, path, self._admin, body)
        if status == 401:
            raise ModuleFailed("the gateway does not know the admin token", advice=ADMIN_ADVICE)
        if status != 200 or not isinstance(answer, dict):
            raise self._unexpected(f"{method} {path.partition('?')[0]}", status, answer)
        return answer

    def _call(self, method: str, path: str, token: str, body: Any = None) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        url = f"{self.base}/api/v1{path}"
        try:
            request = urllib.request.Request(url, data, headers, method=method)
            with self._opener.open(request, timeout=TIMEOUT) as response:
                return response.status, _parsed(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _parsed(error.read())
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise ModuleFailed(
                f"the gateway does not answer at {self.base}: {reason}",
                advice="check that the gateway runs, and gateway.api (as seen from its host)",
            ) from None

    def _refused(self, pool: str, why: str) -> ModuleFailed:
        if "permitted" in why:
            return ModuleFailed("the token is not a cluster admin's", advice=ADMIN_ADVICE)
        if why.startswith(LOCAL_POOL):
            return ModuleFailed(
                f"pool {pool!r} is local to the gateway's own cluster and takes no machines",
                advice="name a pool that has a provider in the gateway's configuration",
            )
        if why.startswith("Invalid pool"):
            return ModuleFailed(
                f"pool {pool!r} is not configured at the gateway",
                advice="add it under worker.pools of the gateway's configuration, or name another",
            )
        return ModuleFailed(f"the gateway refused, for pool {pool!r}: {why}")

    def _unexpected(self, what: str, status: int, body: Any) -> ModuleFailed:
        said = body.get("message") if isinstance(body, dict) else None
        return ModuleFailed(
            f"{what}: the gateway at {self.base} answered {status} {said or ''}".rstrip(),
            advice="is that address the Beta9 gateway's HTTP API?",
        )


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return None
