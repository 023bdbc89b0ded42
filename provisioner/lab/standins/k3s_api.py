"""The stand-in's Kubernetes API: what a Beta9 gateway and `k3s kubectl` ask of it, no more."""

from __future__ import annotations

import base64
import hmac
import json
import re
import sys
import threading
import uuid
from collections.abc import Callable
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from provisioner.lab.standins import versions
from provisioner.lab.standins.k3s_calls import ADMIN, Failure, Request
from provisioner.lab.standins.k3s_files import write_private
from provisioner.lab.standins.k3s_manifests import deploy, withdraw
from provisioner.lab.standins.k3s_nodes import Nodes

MAX_BODY = 1 << 20
LOG_LINES = 20
GIT_VERSION = f"{versions.K3S}.k3s-stand-in"
_NAMESPACED = re.compile(
    r"/(?:api/v1|apis/(?P<group>[a-z.]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[a-z0-9-]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[a-z0-9.-]+)(?P<part>/log|/eviction)?)?"
)
APPLY = "/k3s-stand-in/apply"
"""Where the stand-in's kubectl sends manifests; a real server has a path for each kind."""

STAYS = "k3s-stand-in/stays"
Json = dict[str, Any]


class Cluster:
    """The state behind the API: one node, jobs, and token secrets."""

    def __init__(
        self, state: Path, node: str, admin_token: str, authority: str, joining: str
    ) -> None:
        self._path = state / "stand-in.json"
        self._authority = authority  # PEM
        self._lock = threading.Lock()
        self._joining = joining
        self._admin = admin_token
        self._jobs: dict[str, Json] = {}
        self._secrets: dict[str, Json] = {}
        self._evicted: set[str] = set()
        nodes: Json = {}
        if self._path.exists():
            saved = json.loads(self._path.read_text())
            self._jobs, self._secrets, nodes = saved["jobs"], saved["secrets"], saved["nodes"]
        self._nodes = Nodes(node, nodes, self._save)

    def user(self, authorization: str) -> str:
        """Who the bearer of this header is."""
        scheme, _, token = authorization.partition(" ")
        if scheme == "Bearer" and token:
            if hmac.compare_digest(token.encode(), self._admin.encode()):
                return ADMIN
            for secret in self._secrets.values():
                if hmac.compare_digest(token.encode(), secret["stringToken"].encode()):
                    return f"system:serviceaccount:default:{secret['account']}"
        raise Failure(401, "Unauthorized", "Unauthorized")

    def add_token_secret(self, name: str, account: str, token: str) -> bool:
        """Give the ServiceAccount's token Secret a token, once; whether this was the time."""
        with self._lock:
            if name in self._secrets:
                return False
            self._secrets[name] = {"account": account, "stringToken": token, **_born()}
            self._save()
            return True

    def drop_token_secret(self, name: str) -> bool:
        """Void a token; whether there was one."""
        with self._lock:
            there = self._secrets.pop(name, None) is not None
            self._save()
            return there

    def join(self, authorization: str, node: str) -> str:
        """Take a node whose agent has the token; the authority's certificate."""
        login = base64.b64decode(authorization.partition(" ")[2]).decode("utf-8", "replace")
        if not hmac.compare_digest(login.partition(":")[2].encode(), self._joining.encode()):
            raise Failure(401, "Unauthorized", "Unauthorized")
        with self._lock:
            self._nodes.join(node)
        return self._authority

    @property
    def authority(self) -> str:
        """The certificate of whoever signs here, as PEM."""
        return self._authority

    def answer(
        self, request: Request, query: dict[str, list[str]], body: Json
    ) -> tuple[int, Json | str]:
        """Status and object; of a log, its text."""
        request.check_permitted()
        handlers: dict[tuple[str, str], Callable[[], tuple[int, Json | str]]] = {
            ("create", "jobs"): lambda: (201, self._create(request, body, "dryRun" in query)),
            ("list", "jobs"): lambda: (200, self._list_jobs(query)),
            ("get", "jobs"): lambda: (200, self._job(request)),
            ("delete", "jobs"): lambda: (200, self._delete(request)),
            ("list", "pods"): lambda: (200, self._list_pods(query)),
            ("get", "pods/log"): lambda: (200, self._log(request, query)),
            ("get", "secrets"): lambda: (200, self._secret(request)),
            ("delete", "secrets"): lambda: (200, self._delete_secret(request)),
            ("list", "nodes"): lambda: (200, _list("NodeList", "v1", [*self._nodes.all()])),
            ("get", "nodes"): lambda: (200, _there(self._nodes.get(request.name), request)),
            ("patch", "nodes"): lambda: (
                200,
                _there(self._nodes.patch(request.name, body), request),
            ),
            ("create", "pods/eviction"): lambda: (201, self._evict(request)),
        }
        handler = handlers.get((request.verb, request.resource))
        if handler is None:
            raise Failure(404, "NotFound", "the k3s-stand-in does not serve this resource")
        with self._lock:
            return handler()

    def _create(self, request: Request, body: Json, dry_run: bool) -> Json:
        name = body.get("metadata", {}).get("name", "")
        if body.get("kind") != "Job" or not name:
            raise Failure(400, "BadRequest", "the body is not a Job with a name")
        if name in self._jobs:
            raise Failure(409, "AlreadyExists", f'jobs.batch "{name}" already exists')
        job = {**body, "apiVersion": "batch/v1", "status": {}}
        job["metadata"] = {**body["metadata"], "namespace": request.namespace, **_born()}
        if not dry_run:
            job["status"] = _ended(job) if self._nodes.open else {}
            self._jobs[name] = job
            self._save()
        return job

    def _job(self, request: Request) -> Json:
        if request.name not in self._jobs:
            raise request.missing()
        return self._jobs[request.name]

    def _delete(self, request: Request) -> Json:
        job = self._job(request)
        del self._jobs[request.name]
        self._save()
        details = {"name": request.name, "group": "batch", "kind": "jobs"}
        details["uid"] = job["metadata"]["uid"]
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }

    def _list_jobs(self, query: dict[str, list[str]]) -> Json:
        return _list("JobList", "batch/v1", _selected(list(self._jobs.values()), query))

    def _list_pods(self, query: dict[str, list[str]]) -> Json:
        return _list("PodList", "v1", _selected(self._pods(), query))

    def _pods(self) -> list[Json]:
        pods = [_pod(job) for job in self._jobs.values()]
        return [pod for pod in pods if pod["metadata"]["name"] not in self._evicted]

    def _evict(self, request: Request) -> Json:
        """One whose Job has the label STAYS can't go, as where a disruption budget forbids it."""
        for pod in self._pods():
            if pod["metadata"]["name"] == request.name:
                break
        else:
            raise request.missing()
        if STAYS in pod["metadata"]["labels"]:
            why = "Cannot evict pod as it would violate the pod's disruption budget."
            raise Failure(429, "TooManyRequests", why)
        self._evicted.add(request.name)
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _delete_secret(self, request: Request) -> Json:
        if request.namespace != "default" or request.name not in self._secrets:
            raise request.missing()
        del self._secrets[request.name]
        self._save()
        return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"}

    def _log(self, request: Request, query: dict[str, list[str]]) -> str:
        """What stands for the log of a pod, cut as it was asked for."""
        for pod in self._pods():
            if pod["metadata"]["name"] == request.name:
                break
        else:
            raise request.missing()
        names = [each.get("name", "") for each in pod["spec"].get("containers", [])]
        wanted = query.get("container", names)
        if len(wanted) != 1:
            raise Failure(
                400,
                "BadRequest",
                f"a container name must be specified for pod {request.name}, "
                f"choose one of: [{' '.join(names)}]",
            )
        if wanted[0] not in names:
            why = f"container {wanted[0]} is not valid for pod {request.name}"
            raise Failure(400, "BadRequest", why)
        lines = [f"k3s-stand-in: {wanted[0]} of this pod is not run; this stands for its log\n"]
        lines += [f"line {number} of {LOG_LINES}\n" for number in range(1, LOG_LINES + 1)]
        tail = int(query.get("tailLines", [str(len(lines))])[0])
        limit = int(query.get("limitBytes", [str(MAX_BODY)])[0])
        return "".join(lines[len(lines) - tail :] if tail < len(lines) else lines)[:limit]

    def _secret(self, request: Request) -> Json:
        secret = self._secrets.get(request.name) if request.namespace == "default" else None
        if secret is None:
            raise request.missing()
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {
                "name": request.name,
                "namespace": "default",
                "annotations": {"kubernetes.io/service-account.name": secret["account"]},
                "uid": secret["uid"],
                "creationTimestamp": secret["creationTimestamp"],
            },
            "data": {
                "ca.crt": _base64(self._authority),
                "namespace": _base64("default"),
                "token": _base64(secret["stringToken"]),
            },
        }

    def _save(self) -> None:
        kept = {"jobs": self._jobs, "secrets": self._secrets, "nodes": self._nodes.kept}
        write_private(self._path, json.dumps(kept))


def _there(found: Json | None, request: Request) -> Json:
    if found is None:
        raise request.missing()
    return found


def _born() -> Json:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"uid": str(uuid.uuid4()), "creationTimestamp": now}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _list(kind: str, version: str, items: list[Json]) -> Json:
    return {"kind": kind, "apiVersion": version, "metadata": {}, "items": items}


def _ended(job: Json) -> Json:
    """The status of a Job that does nothing, which is all that the stand-in can have done."""
    containers = job.get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
    if [each.get("command") for each in containers] != [["true"]]:
        return {}
    at = job["metadata"]["creationTimestamp"]
    done = {"type": "Complete", "status": "True", "lastTransitionTime": at}
    return {"succeeded": 1, "startTime": at, "completionTime": at, "conditions": [done]}


def _pod(job: Json) -> Json:
    """The pod that a job controller would make; nothing runs it."""
    template = job.get("spec", {}).get("template", {})
    name = job["metadata"]["name"]
    labels = {**template.get("metadata", {}).get("labels", {}), "job-name": name}
    return {
        "metadata": {"name": f"{name}-stand-in", "namespace": "default", "labels": labels},
        "spec": template.get("spec", {}),
        "status": {"phase": "Pending"},
    }


def _table(pods: list[Json]) -> Json:
    """The pods as the columns that kubectl shows."""
    names = ("Name", "Ready", "Status", "Restarts", "Age")
    return {
        "kind": "Table",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": {},
        "columnDefinitions": [{"name": name, "type": "string"} for name in names],
        "rows": [
            {"cells": [pod["metadata"]["name"], f"0/{_containers(pod)}", "Pending", 0, "<unknown>"]}
            for pod in pods
        ],
    }


def _containers(pod: Json) -> int:
    return len(pod["spec"].get("containers", []))


def _selected(items: list[Json], query: dict[str, list[str]]) -> list[Json]:
    """Those items whose labels have every `key=value` of the labelSelector."""
    pairs = [
        term.partition("=") for text in query.get("labelSelector", []) for term in text.split(",")
    ]
    wanted = {key: value.lstrip("=") for key, _, value in pairs if key}
    return [i for i in items if wanted.items() <= i["metadata"].get("labels", {}).items()]


class Handler(BaseHTTPRequestHandler):
    """HTTP in front of a Cluster."""

    protocol_version = "HTTP/1.1"
    timeout = 60
    cluster: ClassVar[Cluster]

    def do_GET(self) -> None:
        self._answer()

    do_POST = do_DELETE = do_PUT = do_PATCH = do_GET

    def _answer(self) -> None:
        try:
            body = self._body()
            if self.path == "/cacerts":
                return self._send(200, self.cluster.authority.encode(), "text/plain")
            if self.path == "/v1-k3s/serving-kubelet.crt":
                return self._send(200, self._join().encode(), "text/plain")
            user = self.cluster.user(self.headers.get("Authorization", ""))
            url = urlsplit(self.path)
            if self.command == "GET" and url.path in ("/readyz", "/livez", "/healthz"):
                return self._send(200, b"ok", "text/plain; charset=utf-8")
            if self.command == "GET" and url.path == "/version":
                return self._json(200, version())
            if (self.command, url.path, user) == ("POST", APPLY, ADMIN):
                change = withdraw if body.get("withdraw") else deploy
                lines = [*change(self.cluster, body["manifest"])]
                return self._json(200, {"kind": "Applied", "lines": lines})
            request = self._request(user, url.path)
            code, value = self.cluster.answer(request, parse_qs(url.query), body)
            if isinstance(value, str):
                return self._send(code, value.encode(), "text/plain")
            if value["kind"] == "PodList" and "as=Table" in self.headers.get("Accept", ""):
                value = _table(value["items"])
            self._json(code, value)
        except Failure as failure:
            self._json(failure.code, failure.status)

    def _request(self, user: str, path: str) -> Request:
        match = _NAMESPACED.fullmatch(path)
        if not match:
            raise Failure(404, "NotFound", "the server could not find the requested resource")
        part = {key: value or "" for key, value in match.groupdict().items()}
        part["resource"] += part.pop("part")
        reading = "get" if part["name"] else "list"
        verbs = {"GET": reading, "POST": "create", "PUT": "update", "PATCH": "patch"}
        return Request(user=user, verb=verbs.get(self.command, "delete"), **part)

    def _join(self) -> str:
        node = self.headers.get("k3s-Node-Name", "")
        return self.cluster.join(self.headers.get("Authorization", ""), node)

    def _body(self) -> Json:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise Failure(413, "RequestEntityTooLarge", "Request entity too large")
        data = self.rfile.read(length)
        if not data or self.command not in ("POST", "PATCH"):
            return {}
        try:
            body = json.loads(data)
        except ValueError:
            body = None
        if not isinstance(body, dict):
            raise Failure(415, "UnsupportedMediaType", "the k3s-stand-in reads JSON objects only")
        return body

    def _json(self, code: int, value: Json) -> None:
        self._send(code, json.dumps(value).encode(), "application/json")

    def _send(self, code: int, data: bytes, kind: str) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: Any) -> None:
        print(f"{self.address_string()} {format % args}", file=sys.stderr)


def version() -> Json:
    """What /version says, with the stand-in named in it."""
    major, minor = versions.KUBERNETES.lstrip("v").split(".")[:2]
    return {"major": major, "minor": minor, "gitVersion": GIT_VERSION, "platform": "linux"}
