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
from dataclasses import dataclass
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

from provisioner.lab.standins import versions
from provisioner.lab.standins.k3s_files import write_private

MAX_BODY = 1 << 20
LOG_LINES = 20
GIT_VERSION = f"{versions.K3S}.k3s-stand-in"
_NAMESPACED = re.compile(
    r"/(?:api/v1|apis/(?P<group>[a-z.]+)/v1)"
    r"(?:/namespaces/(?P<namespace>[a-z0-9-]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[a-z0-9.-]+)(?P<part>/log)?)?"
)
# What the manifest's Role grants to the gateway's ServiceAccount, in namespace default.
_GRANTED = {"jobs": {"create", "get", "list", "delete"}, "pods": {"list"}, "pods/log": {"get"}}
_ADMIN = "system:admin"

Json = dict[str, Any]


class Failure(Exception):
    """An answer that is a Kubernetes Status of failure."""

    def __init__(self, code: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": message,
            "reason": reason,
            "code": code,
        }


@dataclass(frozen=True)
class Request:
    """One call on a resource, as Kubernetes names its parts."""

    user: str
    verb: str
    group: str
    resource: str
    namespace: str
    name: str

    @property
    def kind(self) -> str:
        resource = self.resource.partition("/")[0]
        return f"{resource}.{self.group}" if self.group else resource

    def missing(self) -> Failure:
        return Failure(404, "NotFound", f'{self.kind} "{self.name}" not found')

    def check_permitted(self) -> None:
        """Refuse what neither the administrator nor the gateway's Role may do."""
        here = self.namespace == "default"
        if self.user == _ADMIN or (here and self.verb in _GRANTED.get(self.resource, ())):
            return
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        name = f' "{self.name}"' if self.name else ""
        raise Failure(
            403,
            "Forbidden",
            f'{self.kind}{name} is forbidden: User "{self.user}" cannot {self.verb} resource '
            f'"{self.resource}" in API group "{self.group}" {where}',
        )


class Cluster:
    """The state behind the API: one node, jobs, and token secrets."""

    def __init__(self, state: Path, node: str, admin_token: str, authority: str) -> None:
        self._path = state / "stand-in.json"
        self._authority = authority  # PEM
        self._lock = threading.Lock()
        self._node = node
        self._admin = admin_token
        self._jobs: dict[str, Json] = {}
        self._secrets: dict[str, Json] = {}
        if self._path.exists():
            saved = json.loads(self._path.read_text())
            self._jobs, self._secrets = saved["jobs"], saved["secrets"]

    def user(self, authorization: str) -> str:
        """Who the bearer of this header is."""
        scheme, _, token = authorization.partition(" ")
        if scheme == "Bearer" and token:
            if hmac.compare_digest(token.encode(), self._admin.encode()):
                return _ADMIN
            for secret in self._secrets.values():
                if hmac.compare_digest(token.encode(), secret["stringToken"].encode()):
                    return f"system:serviceaccount:default:{secret['account']}"
        raise Failure(401, "Unauthorized", "Unauthorized")

    def add_token_secret(self, name: str, account: str, token: str) -> None:
        """Give the ServiceAccount's token Secret a token, once."""
        with self._lock:
            if name not in self._secrets:
                self._secrets[name] = {"account": account, "stringToken": token, **_born()}
                self._save()

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
            ("list", "nodes"): lambda: (200, _list("NodeList", "v1", [self._node_object()])),
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
        return [_pod(job) for job in self._jobs.values()]

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

    def _node_object(self) -> Json:
        ready = {"type": "Ready", "status": "True", "reason": "KubeletReady"}
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self._node, "labels": {"kubernetes.io/hostname": self._node}},
            "status": {"conditions": [ready], "nodeInfo": {"kubeletVersion": GIT_VERSION}},
        }

    def _save(self) -> None:
        write_private(self._path, json.dumps({"jobs": self._jobs, "secrets": self._secrets}))


def _born() -> Json:
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"uid": str(uuid.uuid4()), "creationTimestamp": now}


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def _list(kind: str, version: str, items: list[Json]) -> Json:
    return {"kind": kind, "apiVersion": version, "metadata": {}, "items": items}


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
            user = self.cluster.user(self.headers.get("Authorization", ""))
            url = urlsplit(self.path)
            if self.command == "GET" and url.path in ("/readyz", "/livez", "/healthz"):
                return self._send(200, b"ok", "text/plain; charset=utf-8")
            if self.command == "GET" and url.path == "/version":
                return self._json(200, version())
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

    def _body(self) -> Json:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            raise Failure(413, "RequestEntityTooLarge", "Request entity too large")
        data = self.rfile.read(length)
        if not data or self.command != "POST":
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
