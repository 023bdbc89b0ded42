"""The stand-in's `k3s kubectl`: what roles and tests ask, with kubectl's codes and messages."""

from __future__ import annotations

import argparse
import base64
import json
import os
import re
import ssl
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

from provisioner.lab.standins.k3s_api import APPLY, GIT_VERSION
from provisioner.lab.standins.k3s_files import KUBECONFIG, Refused

TIMEOUT = 10.0
_AGAIN = 0.5  # seconds between tries to evict a pod; kubectl waits 5 s
_RESOURCES = {
    "job": "jobs",
    "no": "nodes",
    "node": "nodes",
    "po": "pods",
    "pod": "pods",
    "secret": "secrets",
}


def main(words: list[str]) -> int:
    """Run one kubectl command."""
    parser = argparse.ArgumentParser("kubectl (k3s-stand-in)", exit_on_error=False)
    parser.add_argument("command", choices=tuple(_COMMANDS))
    parser.add_argument("resource", nargs="?", default="")
    parser.add_argument("name", nargs="?", default="")
    parser.add_argument("-n", "--namespace", default="default")
    parser.add_argument("-o", "--output", choices=("json", "name"), default="name")
    parser.add_argument("-l", "--selector", default="")
    parser.add_argument("-f", "--filename", default="")
    parser.add_argument("--raw", default="")
    parser.add_argument("--timeout", type=lambda text: float(text.rstrip("s")), default=TIMEOUT)
    parser.add_argument("--kubeconfig", type=Path, default=None)
    for flag in ("--ignore-not-found", "--ignore-daemonsets", "--delete-emptydir-data"):
        parser.add_argument(flag, action="store_true")
    try:
        options = parser.parse_intermixed_args(words)
    except argparse.ArgumentError as error:
        raise Refused(f"kubectl: {error}") from None
    if options.kubeconfig:
        os.environ["KUBECONFIG"] = str(options.kubeconfig)
    try:
        return _COMMANDS[options.command](options)
    except HTTPError as error:
        return _failed(error, options.ignore_not_found)
    except URLError as error:
        print(f"Unable to connect to the server: {error.reason}", file=sys.stderr)
        return 1


def _version(options: argparse.Namespace) -> int:
    server = json.loads(_call("/version"))["gitVersion"]
    print(f"Client Version: {GIT_VERSION}\nServer Version: {server}")
    return 0


def _get(options: argparse.Namespace) -> int:
    if options.raw:
        sys.stdout.write(_call(options.raw))
        return 0
    answer = json.loads(_call(_path(options)))
    if "items" in answer:
        answer = {**answer, "kind": "List", "apiVersion": "v1"}
    found = json.dumps(answer, indent=4) if options.output == "json" else _names(answer)
    if found:
        print(found)
    return 0


def _apply(options: argparse.Namespace) -> int:
    for line in _change(options.filename, withdraw=False):
        print(line)
    return 0


def _change(filename: str, withdraw: bool) -> list[str]:
    text = sys.stdin.read() if filename == "-" else Path(filename).read_text()
    answer = json.loads(_call(APPLY, "POST", {"manifest": text, "withdraw": withdraw}))
    lines: list[str] = answer["lines"]
    return lines


def _delete(options: argparse.Namespace) -> int:
    if options.filename:
        for line in _change(options.filename, withdraw=True):
            print(line)
        return 0
    _call(_path(options), "DELETE")
    print(f'{options.resource} "{options.name}" deleted')
    return 0


def _cordon(options: argparse.Namespace) -> int:
    closed = options.command != "uncordon"
    _call(f"/api/v1/nodes/{options.resource}", "PATCH", {"spec": {"unschedulable": closed}})
    print(f"node/{options.resource} {'cordoned' if closed else 'uncordoned'}")
    return 0


def _drain(options: argparse.Namespace) -> int:
    """Cordon the node and evict the pods, again and again as kubectl does."""
    _cordon(options)
    path = "/api/v1/namespaces/default/pods"
    deadline = time.monotonic() + options.timeout
    for pod in json.loads(_call(path))["items"]:
        name = pod["metadata"]["name"]
        while True:
            try:
                _call(f"{path}/{name}/eviction", "POST", {"kind": "Eviction"})
                print(f"pod/{name} evicted")
                break
            except HTTPError as error:
                if error.code != 429:
                    raise
            if time.monotonic() > deadline:
                why = f"global timeout reached: {options.timeout:.0f}s"
                node = options.resource
                print(f'error: unable to drain node "{node}" due to error: {why}', file=sys.stderr)
                return 1
            time.sleep(_AGAIN)
    print(f"node/{options.resource} drained")
    return 0


_COMMANDS = {
    "apply": _apply,
    "cordon": _cordon,
    "delete": _delete,
    "drain": _drain,
    "get": _get,
    "uncordon": _cordon,
    "version": _version,
}


def _path(options: argparse.Namespace) -> str:
    resource = _RESOURCES.get(options.resource, options.resource)
    base = "/apis/batch/v1" if resource == "jobs" else "/api/v1"
    if resource != "nodes":
        base += f"/namespaces/{options.namespace}"
    selector = f"?labelSelector={quote(options.selector)}" if options.selector else ""
    return f"{base}/{resource}" + (f"/{options.name}" if options.name else "") + selector


def _names(answer: dict[str, Any]) -> str:
    return "\n".join(item["metadata"]["name"] for item in answer.get("items", [answer]))


def _failed(error: HTTPError, ignore_not_found: bool) -> int:
    """Say what kubectl says about a failed call."""
    try:
        status = json.load(error)
    except ValueError:
        status = {"reason": str(error.code), "message": error.reason}
    if ignore_not_found and status["reason"] == "NotFound":
        return 0
    if error.code == 401:
        text = "error: You must be logged in to the server (Unauthorized)"
    else:
        text = f"Error from server ({status['reason']}): {status['message']}"
    print(text, file=sys.stderr)
    return 1


def _call(path: str, method: str = "GET", body: dict[str, Any] | None = None) -> str:
    server, authority, token = _credentials()
    context = ssl.create_default_context(cadata=authority)
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = Request(server + path, data, headers, method=method)
    with urlopen(request, timeout=TIMEOUT, context=context) as answer:
        text: str = answer.read().decode()
    return text


def _credentials() -> tuple[str, str, str]:
    """Server, certificate authority and token of the kubeconfig that the stand-in wrote."""
    path = Path(os.environ.get("KUBECONFIG") or KUBECONFIG)
    try:
        text = path.read_text()
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    found = [
        re.search(rf"^\s*{key}: (\S+)$", text, re.M)
        for key in ("server", "certificate-authority-data", "token")
    ]
    server, authority, token = (match.group(1) if match else "" for match in found)
    if not (server and authority and token):
        raise Refused(f"{path} is no kubeconfig of this stand-in")
    return server, base64.b64decode(authority).decode(), token
