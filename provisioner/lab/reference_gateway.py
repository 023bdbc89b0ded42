#!/usr/bin/env python3
"""A reference of the Beta9 gateway's machine API, for the lab and the tests. It is not the gateway.

It answers as the real one was seen to answer, faults included, keeps machines with their
expiry, and dials every ready worker's Kubernetes API at port 6443 as the real one does.
One file, standard library only: it is copied onto a lab host as it is.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socketserver
import ssl
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

Json = dict[str, Any]
JOBS = "/apis/batch/v1/namespaces/default/jobs"
WORKER_PORT = 6443  # fixed in the real gateway, whatever the machine registered
DIAL_TIMEOUT = 5.0
BODY_LIMIT = 1 << 20
UINT32 = 1 << 32
FLOAT_METRICS = (
    "cpu_utilization_pct",
    "memory_utilization_pct",
    "cache_usage_pct",
    "cache_cpu_usage",
)
INT_METRICS = (
    "total_cpu_available",
    "total_memory_available",
    "total_disk_space_bytes",
    "total_disk_free_bytes",
    "free_gpu_count",
    "worker_count",
    "container_count",
    "cache_capacity",
    "cache_memory_usage",
)


@dataclass(frozen=True)
class Pool:
    """A configured pool; `local` ones are the gateway's own cluster and track no machines."""

    name: str
    gpu: str = ""
    runtime: str = ""
    local: bool = False


@dataclass
class Settings:
    """What the real gateway has in its configuration, and the clocks that tests shorten."""

    pools: dict[str, Pool]
    state: Path | None = None
    admin_token: str | None = None
    ttl: float = 300
    pending_ttl: float = 3600
    register_delay: float = 0
    job_interval: float = 1
    list_interval: float = 60
    tailnet: str = ""
    worker_image: str = "localhost/beta9-worker:reference"


class Reply(Exception):
    """Ends a call early with this answer."""

    def __init__(self, status: int, body: Any) -> None:
        super().__init__(status)
        self.status = status
        self.body = body


def message(status: int, text: str) -> Reply:
    """An error of the machine's side of the API."""
    return Reply(status, {"message": text})


def token_text() -> str:
    """A token as the gateway makes them: 64 bytes, URL-safe, 88 characters."""
    return base64.urlsafe_b64encode(secrets.token_bytes(64)).decode()


def seconds(moment: float) -> str:
    """Unix seconds as the gateway writes them."""
    return str(int(moment))


class Store:
    """What the real gateway keeps in Redis and PostgreSQL, in one file written atomically."""

    def __init__(self, path: Path | None) -> None:
        self.lock = threading.RLock()
        self._path = path
        self.admin = ""
        self.workspace = ""
        self.tokens: list[str] = []
        self.machines: dict[str, Json] = {}
        self.metrics: dict[str, Json] = {}
        self.jobs: dict[str, str] = {}
        self.staffed: list[str] = []  # pools that ever had a worker
        if path and path.exists():
            vars(self).update(json.loads(path.read_text()))

    def save(self) -> None:
        """Write everything down. Raises OSError, which `health` shows."""
        if not self._path:
            return
        with self.lock:
            names = ("admin", "workspace", "tokens", "machines", "metrics", "jobs", "staffed")
            text = json.dumps({name: getattr(self, name) for name in names})
            fresh = self._path.with_name(self._path.name + ".new")
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with open(descriptor, "w") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)

    def machine(self, key: str) -> Json | None:
        """The live record under `key`; an expired one is gone, as in Redis."""
        record = self.machines.get(key)
        if record and record["expires"] <= time.time():
            self.forget(key)
            return None
        return record

    def live(self, pool: str = "") -> list[tuple[str, Json]]:
        """Every live record, of one pool or of all."""
        found = [(key, self.machine(key)) for key in list(self.machines)]
        return [(k, m) for k, m in found if m and (not pool or m["state"]["pool_name"] == pool)]

    def forget(self, key: str) -> None:
        """Drop the record; its metrics stay, as they do in the real gateway."""
        self.machines.pop(key, None)
        self.jobs.pop(key, None)


def machine_key(provider: str, pool: str, machine_id: str) -> str:
    """The name that the gateway's messages show."""
    return f"provider:machine:{provider}:{pool}:{machine_id}"


def fresh_state(machine_id: str, pool: Pool, now: float) -> Json:
    """A machine's state before anything is known of it."""
    texts = ("hostname", "token", "registration_token", "private_ip", "last_worker_seen")
    return {
        "machine_id": machine_id,
        "pool_name": pool.name,
        "status": "pending",
        **dict.fromkeys((*texts, "last_keepalive", "agent_version"), ""),
        "cpu": 0,
        "memory": 0,
        "gpu": pool.gpu,
        "gpu_count": 0,
        "created": seconds(now),
        "auto_consolidate": False,
    }


def parse_cpu(text: str) -> int:
    """Millicores, with or without `m`: "8" is 8 millicores."""
    if not re.fullmatch(r"[0-9]+m?", text):
        raise message(500, "Invalid machine cpu value")
    return int(text.rstrip("m"))


def parse_memory(text: str) -> int:
    """MiB from whole `Gi` or `Mi`; a bare number is taken as MiB."""
    match = re.fullmatch(r"([0-9]+)(Gi|Mi)?", text)
    if not match:
        raise message(500, "Invalid machine memory value")
    return int(match[1]) * (1024 if match[2] == "Gi" else 1)


def parse_gpus(text: str) -> int:
    """A whole number as text."""
    if not re.fullmatch(r"[0-9]+", text) or int(text) >= UINT32:
        raise message(500, "Invalid gpu count")
    return int(text)


def typed(body: Json, kinds: dict[str, str]) -> Json:
    """The fields of `kinds`, type-checked as Go decodes JSON; absent and null are zero values."""
    zero: dict[str, Any] = {"text": "", "int": 0, "float": 0.0, "object": None, "texts": []}
    right: dict[str, Callable[[Any], bool]] = {
        "text": lambda v: isinstance(v, str),
        "int": lambda v: isinstance(v, int) and not isinstance(v, bool),
        "float": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
        "object": lambda v: isinstance(v, dict),
        "texts": lambda v: isinstance(v, list) and all(isinstance(each, str) for each in v),
    }
    result: Json = {}
    for name, kind in kinds.items():
        value = body.get(name)
        if value is not None and not right[kind](value):
            raise message(400, "Invalid payload")
        result[name] = zero[kind] if value is None else value
    return result


def camel(name: str) -> str:
    """snake_case as the admin side spells it."""
    head, *rest = name.split("_")
    return head + "".join(part.title() for part in rest)


class Api:
    """The calls. Each takes (token, query, body) and returns the JSON of a 200, or raises Reply."""

    def __init__(self, settings: Settings, store: Store) -> None:
        self.settings = settings
        self.store = store
        self.dials: dict[str, Json] = {}
        if settings.admin_token:
            store.admin = settings.admin_token
        self.secret_config = {"database": {"postgres": {"password": token_text()}}}

    def changed(self) -> None:
        """Write the state down, tolerating a failing disk as the gateway tolerates its Redis."""
        with contextlib.suppress(OSError):
            self.store.save()

    # -- who is asking ---------------------------------------------------------------------

    def role(self, token: str) -> str:
        """`admin`, `machine` or nothing."""
        if self.store.admin and secrets.compare_digest(token.encode(), self.store.admin.encode()):
            return "admin"
        return "machine" if token in self.store.tokens else ""

    def need_machine(self, token: str | None) -> None:
        """Machine calls: even a missing header has its own odd answer."""
        if token is None:
            raise message(500, "Internal Server Error")
        role = self.role(token)
        if not role:
            raise message(401, "Unauthorized")
        if role != "machine":
            raise message(403, "Invalid token")

    def need_token(self, token: str | None) -> bool:
        """Admin calls: any known token gets in; true when it is the cluster admin's."""
        role = self.role(token or "")
        if not role:
            raise Reply(401, {"code": 16, "message": "invalid or missing token"})
        return role == "admin"

    def need_admin(self, token: str | None) -> None:
        """Refusals of the admin side come with status 200."""
        if not self.need_token(token):
            raise Reply(200, {"ok": False, "errMsg": "This action is not permitted"})

    # -- the machine's side ----------------------------------------------------------------

    def register(self, token: str | None, _query: Json, body: Json) -> Json:
        """POST /machine/register."""
        self.need_machine(token)
        names = ("token", "machine_id", "hostname", "provider_name", "pool_name", "private_ip")
        request = typed(body, dict.fromkeys((*names, "cpu", "memory", "gpu_count"), "text"))
        time.sleep(self.settings.register_delay)  # the real one waits for Tailscale first
        cpu, memory = parse_cpu(request["cpu"]), parse_memory(request["memory"])
        gpus = parse_gpus(request["gpu_count"])
        pool = self.settings.pools.get(request["pool_name"])
        if not pool:
            raise message(500, "Invalid pool name")
        hostname = request["hostname"]
        if self.settings.tailnet:
            hostname = f"{hostname}.{self.settings.tailnet}"
        key = machine_key(request["provider_name"], pool.name, request["machine_id"])
        now = time.time()
        with self.store.lock:
            old = self.store.machine(key)
            state = old["state"] if old else fresh_state(request["machine_id"], pool, now)
            if (state["hostname"], state["token"]) != (hostname, request["token"]):
                self.store.jobs.pop(key, None)
            state.update(status="registered", hostname=hostname, token=request["token"])
            state.update(cpu=cpu, memory=memory, gpu_count=gpus, private_ip=request["private_ip"])
            self.store.machines[key] = {"state": state, "expires": now + self.settings.ttl}
            self.changed()
        return {
            "config": None if self.settings.tailnet else self.secret_config,
            "machine_state": {
                "machine_id": request["machine_id"],
                "status": "registered",
                "pool_name": pool.name,
                "ttl_seconds": int(self.settings.ttl),
            },
        }

    def keepalive(self, token: str | None, _query: Json, body: Json) -> Json:
        """POST /machine/keepalive; makes the machine ready whatever it was before."""
        self.need_machine(token)
        names = ("machine_id", "provider_name", "pool_name", "agent_version")
        kinds = {**dict.fromkeys(names, "text"), "metrics": "object", "inference": "object"}
        request = typed(body, kinds)
        inference = {"status": "text", "ip": "text", "port": "int", "models": "texts"}
        typed(request["inference"] or {}, inference)
        numbers = {**dict.fromkeys(FLOAT_METRICS, "float"), **dict.fromkeys(INT_METRICS, "int")}
        metrics = typed(request["metrics"] or {}, numbers)
        if not request["machine_id"] or not request["pool_name"]:
            raise message(400, "machine_id and pool_name are required")
        provider = request["provider_name"] or "generic"
        key = machine_key(provider, request["pool_name"], request["machine_id"])
        now = time.time()
        with self.store.lock:
            record = self.store.machine(key)
            if not record:
                text = f"failed to get machine state <{key}>: machine not found"
                raise message(500, f"Failed to update keepalive: {text}")
            state = record["state"]
            state.update(status="ready", last_keepalive=seconds(now))
            state["agent_version"] = request["agent_version"]
            record["expires"] = now + self.settings.ttl
            if request["metrics"] is not None:
                self.store.metrics[key] = metrics
            self.changed()
        if request["metrics"] is None:  # as seen: the answer fails after the state was set
            raise message(500, "Internal Server Error")
        return {
            "status": "ok",
            "machine_state": {
                "machine_id": request["machine_id"],
                "status": "ready",
                "pool_name": request["pool_name"],
                "last_keepalive": seconds(now),
                "ttl_seconds": int(self.settings.ttl),
                "agent_version": request["agent_version"],
            },
        }

    def config(self, token: str | None, _query: Json, _body: Json) -> Json:
        """GET /machine/config: secrets of the gateway, or a failure after the delay."""
        self.need_machine(token)
        if self.settings.tailnet:
            time.sleep(self.settings.register_delay)
            raise message(500, "Unable to create remote config")
        return {"config": self.secret_config}

    def neighbours(self, token: str | None, query: Json, _body: Json) -> list[Json]:
        """GET /machine/list: the ready machines of one pool, with their tokens."""
        self.need_machine(token)
        prefix = machine_key(query.get("provider_name", ""), query.get("pool_name", ""), "")
        with self.store.lock:
            return [
                {"state": dict(record["state"]), "metrics": self.store.metrics.get(key)}
                for key, record in self.store.live()
                if key.startswith(prefix) and record["state"]["status"] == "ready"
            ]

    # -- the administrator's side ----------------------------------------------------------

    def authorize(self, token: str | None, _query: Json, _body: Json) -> Json:
        """POST /gateway/auth/authorize: the first call on an empty gateway makes its admin."""
        with self.store.lock:
            if not self.store.admin:
                self.store.admin, self.store.workspace = token_text(), secrets.token_hex(16)
                self.changed()
                return self._authorized(self.store.admin)
        if token and self.role(token):
            return self._authorized("")
        return {"workspaceId": "", "newToken": "", "ok": False, "errorMsg": "Invalid token"}

    def _authorized(self, new: str) -> Json:
        return {"workspaceId": self.store.workspace, "newToken": new, "ok": True, "errorMsg": ""}

    def pools(self, token: str | None, _query: Json, _body: Json) -> Json:
        """GET /gateway/pools: fails while any pool never had a worker."""
        self.need_admin(token)
        for name, pool in sorted(self.settings.pools.items()):
            if not pool.local and name not in self.store.staffed:
                raise Reply(500, {"code": 2, "message": f"worker pool state not found: {name}"})
        return {"ok": True, "errMsg": "", "pools": [self._pool(n) for n in self._pool_names()]}

    def _pool_names(self) -> list[str]:
        return sorted(self.settings.pools)

    def _pool(self, name: str) -> Json:
        counts = dict.fromkeys(("registered", "pending", "ready"), 0)
        with self.store.lock:
            for _key, record in self.store.live(name):
                counts[record["state"]["status"]] += 1
        state = {f"{status}Machines": str(count) for status, count in counts.items()}
        return {"name": name, "gpu": self.settings.pools[name].gpu, "state": state}

    def create(self, token: str | None, _query: Json, body: Json) -> Json:
        """POST /gateway/machines: a pending machine and its token."""
        self.need_admin(token)
        pool = self.settings.pools.get(typed(body, {"poolName": "text"})["poolName"])
        if not pool or pool.local:
            raise Reply(200, {"ok": False, "errMsg": "Invalid pool name", "machine": None})
        machine_id, new, now = secrets.token_hex(4), token_text(), time.time()
        state = {**fresh_state(machine_id, pool, now), "registration_token": new}
        with self.store.lock:
            self.store.tokens.append(new)
            self.store.machines[machine_key("generic", pool.name, machine_id)] = {
                "state": state,
                "expires": now + self.settings.pending_ttl,
            }
            self.changed()
        shown = {"status": "", "created": "", "providerName": "generic", "registrationToken": new}
        upstream = dict.fromkeys(("Url", "Branch", "Token"), "")
        return {
            "ok": True,
            "errMsg": "",
            "machine": {**self._shown(state), **shown, "machineMetrics": None},
            **{f"agentUpstream{name}": value for name, value in upstream.items()},
        }

    def _shown(self, state: Json) -> Json:
        """A machine as the admin side shows it: 64-bit numbers as text, tokens empty."""
        key = machine_key("generic", state["pool_name"], state["machine_id"])
        metrics = self.store.metrics.get(key) or dict.fromkeys(FLOAT_METRICS + INT_METRICS, 0)
        return {
            "id": state["machine_id"],
            "cpu": str(state["cpu"]),
            "memory": str(state["memory"]),
            "gpu": state["gpu"],
            "gpuCount": state["gpu_count"],
            "status": state["status"],
            "poolName": state["pool_name"],
            "providerName": "",
            "registrationToken": "",
            "tailscaleUrl": "",
            "tailscaleAuth": "",
            "lastKeepalive": state["last_keepalive"],
            "created": state["created"],
            "agentVersion": state["agent_version"],
            "machineMetrics": {camel(name): value for name, value in metrics.items()},
            "userData": "",
        }

    def machines(self, token: str | None, query: Json, _body: Json) -> Json:
        """GET /gateway/machines: every machine of a pool; `limit` is ignored."""
        admin = self.need_token(token)
        name = query.get("poolName", "")
        gpus = {pool.gpu: False for pool in self.settings.pools.values() if pool.gpu}
        if not admin:
            return {"ok": True, "errMsg": "", "machines": [], "gpus": gpus}
        if name and name not in self.settings.pools:
            raise Reply(200, {"ok": False, "errMsg": "Invalid pool", "machines": [], "gpus": {}})
        if name and self.settings.pools[name].local:
            text = "Local pools don't currently track machines"
            raise Reply(200, {"ok": False, "errMsg": text, "machines": [], "gpus": {}})
        with self.store.lock:
            shown = [self._shown(record["state"]) for _key, record in self.store.live(name)]
        return {"ok": True, "errMsg": "", "machines": shown, "gpus": gpus}

    def delete(self, token: str | None, query: Json, machine_id: str) -> Json:
        """DELETE /gateway/machines/ID: also fine the second time; the token stays valid."""
        self.need_admin(token)
        pool = self.settings.pools.get(query.get("poolName", ""))
        if not pool:
            raise Reply(200, {"ok": False, "errMsg": "Invalid pool name"})
        if pool.local:
            log(f"panic: delete in the local pool {pool.name} crashes the gateway")
            os._exit(2)
        with self.store.lock:
            self.store.forget(machine_key("generic", pool.name, machine_id))
            self.changed()
        return {"ok": True, "errMsg": ""}

    def health(self, _token: str | None, _query: Json, _body: Json) -> Json:
        """GET /health: whether the state can be kept."""
        try:
            self.store.save()
        except OSError as error:
            raise Reply(500, {"error": str(error), "status": "not ok"}) from None
        return {"status": "ok"}

    # -- the reference's own ---------------------------------------------------------------

    def reference_machines(self, token: str | None, _query: Json, _body: Json) -> Json:
        """GET /reference/machines: how the last dial of each machine went. No tokens."""
        self.need_admin(token)
        with self.store.lock:
            return {
                "machines": [
                    {
                        **{n: record["state"][n] for n in ("machine_id", "pool_name", "status")},
                        "hostname": record["state"]["hostname"],
                        "job": self.store.jobs.get(key),
                        "dial": self.dials.get(key),
                    }
                    for key, record in self.store.live()
                ]
            }

    def routes(self) -> dict[tuple[str, str], Callable[[str | None, Json, Json], Any]]:
        """Everything but the delete, whose path holds the machine's id."""
        return {
            ("GET", "/api/v1/health"): self.health,
            ("POST", "/api/v1/machine/register"): self.register,
            ("POST", "/api/v1/machine/keepalive"): self.keepalive,
            ("GET", "/api/v1/machine/config"): self.config,
            ("GET", "/api/v1/machine/list"): self.neighbours,
            ("POST", "/api/v1/gateway/auth/authorize"): self.authorize,
            ("GET", "/api/v1/gateway/pools"): self.pools,
            ("POST", "/api/v1/gateway/machines"): self.create,
            ("GET", "/api/v1/gateway/machines"): self.machines,
            ("GET", "/reference/machines"): self.reference_machines,
        }


class Dialer:
    """Asks each ready worker's Kubernetes to run a Job, as the scheduler of the real one does."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self._stop = threading.Event()
        self._busy: set[str] = set()
        self._listed: dict[str, float] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False  # the real one verifies nothing either
        self._context.verify_mode = ssl.CERT_NONE
        self._pool = ThreadPoolExecutor(max_workers=16, thread_name_prefix="dial")
        self._thread = threading.Thread(target=self._loop, name="dialer", daemon=True)

    def start(self) -> None:
        """Begin dialling in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End it; a dial under way ends by its own time limit."""
        self._stop.set()
        self._thread.join(DIAL_TIMEOUT)
        self._pool.shutdown(wait=False)

    def _loop(self) -> None:
        while not self._stop.wait(self.api.settings.job_interval):
            for key, state in self._wanting():
                self._busy.add(key)
                self._pool.submit(self._dial, key, state)

    def _wanting(self) -> list[tuple[str, Json]]:
        """Ready machines that lack a Job, or whose Jobs were not listed for a minute."""
        store, due = self.api.store, time.monotonic() - self.api.settings.list_interval
        with store.lock:
            return [
                (key, dict(record["state"]))
                for key, record in store.live()
                if record["state"]["status"] == "ready"
                and key not in self._busy
                and self._has_capacity(record["state"])
                and (key not in store.jobs or self._listed.get(key, due) <= due)
            ]

    def _has_capacity(self, state: Json) -> bool:
        # a machine that never registered is dialled all the same
        return not state["gpu"] or state["gpu_count"] > 0 or not state["hostname"]

    def _dial(self, key: str, state: Json) -> None:
        try:
            if key in self.api.store.jobs:
                self._list(key, state)
            else:
                self._create(key, state)
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._record(key, error=f"{type(error).__name__}: {error}")
        finally:
            self._busy.discard(key)

    def _create(self, key: str, state: Json) -> None:
        job = worker_job(state, self.api.settings)
        status, answer = self._ask(state, "POST", JOBS, job)
        if status != 201:
            self._record(key, error=f"Job refused: {status} {answer.get('message', '')}".strip())
            return
        with self.api.store.lock:
            if key not in self.api.store.machines:
                return
            self.api.store.jobs[key] = job["metadata"]["name"]
            if state["pool_name"] not in self.api.store.staffed:
                self.api.store.staffed.append(state["pool_name"])
            self._listed[key] = time.monotonic()
            self.api.changed()
        self._record(key)

    def _list(self, key: str, state: Json) -> None:
        self._listed[key] = time.monotonic()
        selector = (
            f"run.beam.cloud/role=worker,run.beam.cloud/worker-pool-name={state['pool_name']}"
        )
        path = f"{JOBS}?{urllib.parse.urlencode({'labelSelector': selector})}"
        status, answer = self._ask(state, "GET", path)
        if status != 200:
            self._record(
                key, error=f"Jobs not listed: {status} {answer.get('message', '')}".strip()
            )
            return
        names = [job["metadata"]["name"] for job in answer.get("items") or []]
        with self.api.store.lock:
            if self.api.store.jobs.get(key) not in names:  # finished and gone: capacity is wanted
                self.api.store.jobs.pop(key, None)
                self.api.changed()
        self._record(key)

    def _ask(
        self, state: Json, method: str, path: str, body: Json | None = None
    ) -> tuple[int, Json]:
        if not state["hostname"]:
            raise OSError("the machine is ready without a hostname")
        connection = http.client.HTTPSConnection(
            state["hostname"], WORKER_PORT, timeout=DIAL_TIMEOUT, context=self._context
        )
        headers = {"Authorization": f"Bearer {state['token']}", "Content-Type": "application/json"}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            response = connection.getresponse()
            text = response.read(BODY_LIMIT)
        finally:
            connection.close()
        with contextlib.suppress(ValueError):
            answer = json.loads(text)
            if isinstance(answer, dict):
                return response.status, answer
        return response.status, {"message": text[:200].decode(errors="replace")}

    def _record(self, key: str, error: str = "") -> None:
        """Keep the outcome, and say so when it changed."""
        with self.api.store.lock:
            old = self.api.dials.get(key, {})
            self.api.dials[key] = {
                "at": seconds(time.time()),
                "ok": not error,
                "error": error,
                "tries": old.get("tries", 0) + 1,
            }
        if old.get("error") != error:
            log(f"dial {key}: {error or 'ok'}")


def worker_job(state: Json, settings: Settings) -> Json:
    """The Job that the gateway makes on a worker."""
    pool = settings.pools[state["pool_name"]]
    name = f"worker-{pool.name}-{secrets.token_hex(4)}"
    labels = {
        "app": name,
        "run.beam.cloud/role": "worker",
        "run.beam.cloud/worker-pool-name": pool.name,
    }
    limits = {"nvidia.com/gpu": str(state["gpu_count"])} if pool.gpu else {}
    hosts = {"images": "/images", "logs": "/var/log/worker"}
    mounts = [{"name": each, "mountPath": path} for each, path in hosts.items()]
    container = {
        "name": "worker",
        "image": settings.worker_image,
        "command": ["/usr/local/bin/worker"],
        "resources": {"requests": limits, "limits": limits},
        "securityContext": {"privileged": True},
        "env": [
            {"name": "WORKER_ID", "value": name},
            {"name": "WORKER_POOL_NAME", "value": pool.name},
        ],
        "volumeMounts": [*mounts, {"name": "shm", "mountPath": "/dev/shm"}],  # noqa: S108 — of a pod
    }
    volumes: list[Json] = [
        {"name": each, "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for each, path in hosts.items()
    ]
    volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
    spec = {
        "restartPolicy": "Never",
        "hostNetwork": True,
        "dnsPolicy": "ClusterFirstWithHostNet",
        "containers": [container],
        "volumes": volumes,
        **({"runtimeClassName": pool.runtime} if pool.runtime else {}),
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": "default", "labels": labels},
        "spec": {
            "ttlSecondsAfterFinished": 30,
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


def log(text: str) -> None:
    """One line of the journal. Nothing that is logged has a token in it."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of `Api`."""

    protocol_version = "HTTP/1.1"
    server_version = "b9prov-reference-gateway"
    timeout = 75
    server: Server

    def do_GET(self) -> None:
        self._serve("GET")

    def do_POST(self) -> None:
        self._serve("POST")

    def do_DELETE(self) -> None:
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        url = urllib.parse.urlsplit(self.path)
        try:
            status, body = (
                200,
                self._call(method, url.path, dict(urllib.parse.parse_qsl(url.query))),
            )
        except Reply as reply:
            status, body = reply.status, reply.body
        if status >= 400:
            log(f"{method} {url.path} {status}")  # no query: nothing secret may slip in
        payload = json.dumps(body).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def _call(self, method: str, path: str, query: Json) -> Any:
        api, token, raw = self.server.api, self._token(), self._raw_body()
        delete = re.fullmatch(r"/api/v1/gateway/machines/([^/]+)", path)
        if delete and method == "DELETE":
            return api.delete(token, query, urllib.parse.unquote(delete[1]))
        call = api.routes().get((method, path))
        if not call:
            raise message(404, "Not Found")
        machine_call = path.startswith("/api/v1/machine/")
        if machine_call:  # the token is looked at before the body
            api.need_machine(token)
        return call(token, query, self._json(raw, machine_call))

    def _token(self) -> str | None:
        header = self.headers.get("Authorization")
        if header is None:
            return None
        return header[7:].strip() if header.startswith("Bearer ") else ""

    def _raw_body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        if not length.isdigit() or int(length) > BODY_LIMIT:
            self.close_connection = True
            raise message(413, "Request Entity Too Large")
        return self.rfile.read(int(length))

    def _json(self, raw: bytes, machine_call: bool) -> Json:
        if not raw:
            return {}
        try:
            body = json.loads(raw)
        except ValueError:
            body = None
        # the machine's side binds JSON only when the content type says so
        declared = self.headers.get("Content-Type", "").startswith("application/json")
        if isinstance(body, dict) and (declared or not machine_call):
            return body
        if machine_call:
            raise message(400, "Invalid payload")
        raise Reply(400, {"code": 3, "message": "invalid request body"})

    def log_message(self, format: str, *args: Any) -> None:
        """`_serve` says what is worth saying."""


class Server(ThreadingHTTPServer):
    """One thread a connection; a name look-up at start could hang, so none is made."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], api: Api) -> None:
        self.api = api
        super().__init__(address, Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that went away is no news; anything else is."""
        error = sys.exc_info()[1]
        if not isinstance(error, (ConnectionError, TimeoutError)):
            log(f"request failed: {type(error).__name__}")


@dataclass
class Gateway:
    """A running reference gateway, for tests that embed it."""

    settings: Settings
    address: tuple[str, int] = ("127.0.0.1", 0)
    api: Api = field(init=False)
    server: Server = field(init=False)
    dialer: Dialer = field(init=False)

    def __post_init__(self) -> None:
        self.api = Api(self.settings, Store(self.settings.state))
        self.server = Server(self.address, self.api)
        self.dialer = Dialer(self.api)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.server.server_name}:{self.server.server_port}"

    def start(self) -> None:
        """Serve in background threads."""
        self.dialer.start()
        serve = threading.Thread(target=self.server.serve_forever, args=(0.1,), daemon=True)
        serve.start()

    def stop(self) -> None:
        """Stop serving and write the state down."""
        self.server.shutdown()
        self.server.server_close()
        self.dialer.stop()
        self.api.changed()


def read_admin_token(path: Path) -> str:
    """The token in the file, which is made when there is none."""
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w") as file:
            file.write(token_text() + "\n")
    token = path.read_text().strip()
    if not token:
        raise SystemExit(f"{path} is empty; remove it and a token is made")
    return token


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--bind", default="127.0.0.1")
    add("--port", type=int, default=31994)
    add("--state", type=Path, help="file that outlives a restart")
    add(
        "--admin-token-file", type=Path, help="made when missing; else the first authorize makes it"
    )
    add("--pool", action="append", default=[], metavar="NAME[:GPUTYPE[:RUNTIME]]")
    add("--local-pool", action="append", default=[], metavar="NAME")
    add("--ttl", type=float, default=300, help="seconds that a registered or ready machine lives")
    add("--pending-ttl", type=float, default=3600)
    add(
        "--register-delay",
        type=float,
        default=0,
        help="the real one takes 5 s without a direct host",
    )
    add("--job-interval", type=float, default=1)
    add("--list-interval", type=float, default=60)
    add("--tailnet", default="", help="domain appended to hostnames, as without a direct host")
    add("--worker-image", default=Settings.worker_image)
    return parser.parse_args(arguments)


def settings_of(options: argparse.Namespace) -> Settings:
    """The command line as settings."""
    pools = [Pool(*text.split(":", 2)) for text in options.pool]
    pools += [Pool(name, local=True) for name in options.local_pool]
    shared = ("state", "ttl", "pending_ttl", "register_delay", "job_interval", "list_interval")
    names = (*shared, "tailnet", "worker_image")
    token = read_admin_token(options.admin_token_file) if options.admin_token_file else None
    return Settings(
        pools={pool.name: pool for pool in pools},
        admin_token=token,
        **{name: getattr(options, name) for name in names},
    )


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    options = parse()
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    gateway = Gateway(settings_of(options), (options.bind, options.port))
    gateway.start()
    log(f"reference gateway (not the real one) at {gateway.url}")
    ended.wait()
    gateway.stop()


if __name__ == "__main__":
    main()
