"""Crusoe Cloud (https://docs.crusoecloud.com/api)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import requests
from requests.auth import AuthBase

from provisioner.clouds import box
from provisioner.clouds.box import Box, Kind, Order, listing, mapping, number, text
from provisioner.clouds.crusoe_login import CONFIG, Login
from provisioner.clouds.errors import (
    CREDENTIALS,
    FORBIDDEN,
    GONE,
    OUT_OF_STOCK,
    REFUSED,
    UNAUTHORIZED,
    UNREACHABLE,
    CloudError,
)
from provisioner.clouds.http import DEADLINE, Api, Json
from provisioner.secrets import Secret

PROVIDER = "crusoe"
IMAGE = "ubuntu22.04:latest"
GPU_IMAGE = "ubuntu22.04-nvidia-pcie-docker:latest"
SXM_IMAGE = "ubuntu22.04-nvidia-sxm-docker:latest"
PACE = 0.2  # seconds between requests
OPERATION_SECONDS = 600.0  # that an operation may take
_LOOK_AGAIN = 2.0  # seconds
_PAGES = 1000
_STATES = {
    "CREATING": box.STARTING,
    "PROVISIONING": box.STARTING,
    "STARTING": box.STARTING,
    "RESETTING": box.STARTING,
    "RUNNING": box.RUNNING,
    "STOPPING": box.STOPPED,
    "STOPPED": box.STOPPED,
    "SHUTOFF": box.STOPPED,
    "DELETING": box.ENDED,
    "DELETED": box.ENDED,
    "ERROR": box.UNHEALTHY,
    "FAILED": box.UNHEALTHY,
}


def signature(secret: Secret, path: str, query: str, verb: str, timestamp: str) -> str:
    """What signs a request: `path` with the API's version, `query` sorted and without its `?`."""
    key = secret.reveal()
    try:
        raw = base64.b64decode(key + "=" * (-len(key) % 4), altchars=b"-_", validate=True)
    except binascii.Error:
        raise CloudError(
            CREDENTIALS, "crusoe: the secret key is not in base64url", "copy it anew"
        ) from None
    signed = f"{path}\n{query}\n{verb}\n{timestamp}\n".encode()
    digest = hmac.new(raw, signed, hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Signed(AuthBase):
    """Signs each request as it is sent, so that a repeated one has a time of its own."""

    def __init__(self, access_key: str, secret: Secret) -> None:
        self._access_key, self._secret = access_key, secret

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        parts = urlsplit(request.url or "")
        pairs = sorted(unquote(pair) for pair in parts.query.split("&") if pair)
        now = datetime.now(timezone.utc).replace(microsecond=0).isoformat()
        signed = signature(self._secret, parts.path, "&".join(pairs), request.method or "GET", now)
        request.headers["X-Crusoe-Timestamp"] = now
        request.headers["Authorization"] = f"Bearer 1.0:{self._access_key}:{signed}"
        return request


class Crusoe:
    """A project at Crusoe. `settings` are those of a source in an inventory."""

    provider = PROVIDER

    def __init__(self, settings: Mapping[str, Any], patience: float = DEADLINE) -> None:
        login = Login.of(settings)
        account = f"{login.access_key} {login.project}"
        self.account = hashlib.sha256(account.encode()).hexdigest()[:16]
        auth = Signed(login.access_key, login.secret_key)
        self._api = Api(PROVIDER, login.api, auth, _explain, PACE, patience)
        self._vms = f"/projects/{quote(login.project, safe='')}/compute/vms"

    def boxes(self) -> list[Box]:
        """All VMs of the project, of all pages."""
        gpus = {kind.name: kind.gpus for kind in self._types()}
        return [_box(each, gpus) for each in self._pages(f"{self._vms}/instances")]

    def kinds(self) -> list[Kind]:
        """All types. Crusoe's API tells no prices."""
        regions: dict[str, list[str]] = {}
        for each in listing(self._api.get("/capacities").get("items")):
            if (number(each.get("quantity")) or 0) > 0:
                where = regions.setdefault(str(each.get("type")), [])
                where += [str(each.get("location"))] * (str(each.get("location")) not in where)
        return [
            Kind(kind.name, PROVIDER, kind.gpu, kind.gpus, None, tuple(regions.get(kind.name, ())))
            for kind in self._types()
        ]

    def launch(self, order: Order) -> str | None:
        """Order a VM, and wait until Crusoe has made it or said why not; its id, if it tells it."""
        body = {
            "name": order.name,
            "type": order.type,
            "location": order.region,
            "image": order.image or _image(order.type),
            "ssh_public_key": order.login_key,
            "startup_script": order.host_key.script(),
        }
        answer = self._api.call("POST", f"{self._vms}/instances", body, once=True)
        done = self._finished(mapping(answer.get("operation")))
        made = mapping(done.get("result"))
        return text(made.get("id")) or text(mapping(done.get("metadata")).get("id"))

    def end(self, box_id: str) -> None:
        """Delete a VM and wait until it is gone."""
        try:
            path = f"{self._vms}/instances/{quote(box_id, safe='')}"
            self._finished(mapping(self._api.call("DELETE", path).get("operation")))
        except CloudError as error:
            if error.code != GONE:
                raise

    def tidy(self, login_key: str) -> None:
        """Nothing but VMs is made."""

    def _types(self) -> list[Kind]:
        found = listing(self._api.get(f"{self._vms}/types").get("items"))
        return [
            Kind(
                str(each.get("product_name")),
                PROVIDER,
                text(each.get("gpu_type")),
                number(each.get("num_gpu")),
                None,
                (),
            )
            for each in found
        ]

    def _pages(self, path: str) -> list[Json]:
        found: list[Json] = []
        query = {"sort": "created_at"}
        for _ in range(_PAGES):
            answer = self._api.get(path, query)
            found += listing(answer.get("items"))
            token = text(answer.get("next_page_token")) or text(answer.get("next_token"))
            if token is None or token == query.get("next_token"):
                break
            query["next_token"] = token
        return found

    def _finished(self, operation: Json) -> Json:
        """The operation when it has succeeded. Raises CloudError."""
        give_up = time.monotonic() + OPERATION_SECONDS
        while operation.get("state") not in ("SUCCEEDED", "FAILED"):
            if not text(operation.get("operation_id")) or time.monotonic() > give_up:
                message = f"crusoe has not finished within {OPERATION_SECONDS:g} s"
                raise CloudError(UNREACHABLE, message, "look at its console")
            time.sleep(_LOOK_AGAIN)
            path = f"{self._vms}/instances/operations/{quote(operation['operation_id'], safe='')}"
            answer = self._api.get(path)
            operation = mapping(answer.get("operation")) or answer
        if operation["state"] == "FAILED":
            result = mapping(operation.get("result"))
            raise _explain(400, result)
        return operation


def _image(kind: str) -> str:
    """Crusoe's own image with what the type's GPUs want."""
    if kind.startswith(("c1a.", "s1a.")):
        return IMAGE
    return SXM_IMAGE if "sxm" in kind else GPU_IMAGE


def _box(shown: Json, gpus: Mapping[str, int | None]) -> Box:
    kind = text(shown.get("type")) or text(shown.get("product_name"))
    addresses = [
        address
        for interface in listing(shown.get("network_interfaces"))
        for address in listing(interface.get("ips"))
    ]

    def first(key: str) -> str | None:
        found = (text(mapping(each.get(key)).get("address")) for each in addresses)
        return next(filter(None, found), None)

    return Box(
        id=str(shown.get("id")),
        name=text(shown.get("name")) or "",
        provider=PROVIDER,
        state=_STATES.get(str(shown.get("state")).removeprefix("STATE_"), box.UNKNOWN),
        address=first("public_ipv4"),
        private_address=first("private_ipv4"),
        region=text(shown.get("location")),
        type=kind,
        gpus=gpus.get(kind or ""),
        tags=box.tags(shown.get("tags")),
    )


def _explain(status: int, answer: Json) -> CloudError:
    error = mapping(answer.get("error")) or answer
    code, message = str(error.get("code") or ""), str(error.get("message") or f"HTTP {status}")
    if status == 401:
        advice = (
            f"check CRUSOE_ACCESS_KEY_ID and CRUSOE_SECRET_KEY, or {CONFIG}, and this machine's "
            "clock: signatures hold for minutes"
        )
        return CloudError(UNAUTHORIZED, f"crusoe does not believe the signature: {message}", advice)
    if code == "out_of_stock":
        advice = "`b9prov box types --provider crusoe` shows which location has what"
        return CloudError(OUT_OF_STOCK, f"crusoe is out of stock: {message}", advice)
    if status == 403:
        advice = "the key's user needs a role in the project; check the project's id and its quotas"
        return CloudError(FORBIDDEN, f"crusoe does not allow it: {message}", advice)
    if status == 404:
        return CloudError(GONE, f"crusoe has no such thing: {message}", "check the project's id")
    return CloudError(REFUSED, f"crusoe refused ({code or status}): {message}")
