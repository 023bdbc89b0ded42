"""Lambda's public cloud (https://docs.lambda.ai/api/cloud)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import requests
from requests.auth import AuthBase

from provisioner.clouds import box
from provisioner.clouds.box import Box, Kind, Order, listing, mapping, number, text
from provisioner.clouds.errors import (
    CREDENTIALS,
    FORBIDDEN,
    GONE,
    OUT_OF_STOCK,
    REFUSED,
    UNAUTHORIZED,
    CloudError,
)
from provisioner.clouds.http import DEADLINE, Api, Json
from provisioner.secrets import Secret, revealed

PROVIDER = "lambda"
API = "https://cloud.lambda.ai/api/v1"
KEY_VARIABLE = "LAMBDA_API_KEY"
KEYS_PAGE = "https://cloud.lambda.ai/api-keys"
PACE = 1.0  # seconds between requests
LAUNCH_PACE = ("launch", 12.0)  # and between launches
MARK = "b9prov"
_LOGIN_KEY = "b9prov-"
_STATES = {
    "booting": box.STARTING,
    "active": box.RUNNING,
    "unhealthy": box.UNHEALTHY,
    "terminating": box.ENDED,
    "terminated": box.ENDED,
    "preempted": box.ENDED,
}


class _Bearer(AuthBase):
    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


class LambdaCloud:
    """An account at Lambda. `settings` are those of a source in an inventory: `api`, `api_key`."""

    provider = PROVIDER

    def __init__(self, settings: Mapping[str, Any], patience: float = DEADLINE) -> None:
        key = str(revealed(settings.get("api_key")) or os.environ.get(KEY_VARIABLE) or "").strip()
        if not key:
            raise CloudError(
                CREDENTIALS,
                "lambda: there is no API key",
                f"make one at {KEYS_PAGE} and export {KEY_VARIABLE}=…, or give the source an "
                "api_key: !file PATH",
            )
        auth = _Bearer(Secret(key))
        self.account = hashlib.sha256(key.encode()).hexdigest()[:16]
        self._api = Api(PROVIDER, settings.get("api") or API, auth, _explain, PACE, patience)

    def boxes(self) -> list[Box]:
        """All instances of the account. Their `jupyter_token` is not kept."""
        return [_box(each) for each in listing(self._api.get("/instances").get("data"))]

    def kinds(self) -> list[Kind]:
        """All types, also those that no region has now."""
        found = mapping(self._api.get("/instance-types").get("data"))
        return [_kind(name, mapping(each)) for name, each in found.items()]

    def launch(self, order: Order) -> str | None:
        """Order an instance; its id."""
        body = {
            "region_name": order.region,
            "instance_type_name": order.type,
            "ssh_key_names": [self._login_key(order.login_key)],
            "name": order.name,
            "hostname": order.name,
            "user_data": order.host_key.cloud_config(),
            "tags": [
                {"key": key, "value": value}
                for key, value in {**order.tags, MARK: order.mark}.items()
            ],
            **({"image": {"id": order.image}} if order.image else {}),
        }
        path = "/instance-operations/launch"
        try:
            answer = self._api.call("POST", path, body, once=True, pace=LAUNCH_PACE)
        except CloudError as error:
            raise self._with_regions(error, order) from None
        ids = mapping(answer.get("data")).get("instance_ids")
        return text(ids[0]) if isinstance(ids, list) and ids else None

    def end(self, box_id: str) -> None:
        """Terminate an instance; one that is gone is fine."""
        path = "/instance-operations/terminate"
        try:
            self._api.call("POST", path, {"instance_ids": [box_id]})
        except CloudError as error:
            if error.code != GONE:
                raise

    def tidy(self, login_key: str) -> None:
        """Delete a login key that `launch` put there; one of the user's own stays."""
        name = _key_name(login_key)
        for each in listing(self._api.get("/ssh-keys").get("data")):
            if each.get("name") == name and text(each.get("id")):
                self._api.call("DELETE", f"/ssh-keys/{quote(each['id'], safe='')}")

    def _login_key(self, public: str) -> str:
        """The name, at Lambda, of the key that logs in; it is put there when it is not."""
        wanted = public.split()[:2]
        for each in listing(self._api.get("/ssh-keys").get("data")):
            if str(each.get("public_key")).split()[:2] == wanted and text(each.get("name")):
                return str(each["name"])
        name = _key_name(public)
        self._api.call("POST", "/ssh-keys", {"name": name, "public_key": public})
        return name

    def _with_regions(self, error: CloudError, order: Order) -> CloudError:
        """Where it is out of stock, where it is not."""
        if error.code != OUT_OF_STOCK:
            return error
        try:
            regions = [r for kind in self.kinds() if kind.name == order.type for r in kind.regions]
        except CloudError:
            return error
        there = f"there are some in {', '.join(regions)}" if regions else "no region has one now"
        advice = f"{there}; `b9prov box types --provider lambda` shows what is to be had"
        return CloudError(OUT_OF_STOCK, str(error), advice)


def _key_name(public: str) -> str:
    """What a login key is called that we put there."""
    digest = hashlib.sha256(" ".join(public.split()[:2]).encode()).hexdigest()
    return _LOGIN_KEY + digest[:12]


def _box(shown: Json) -> Box:
    kind = mapping(shown.get("instance_type"))
    return Box(
        id=str(shown.get("id")),
        name=text(shown.get("name")) or "",
        provider=PROVIDER,
        state=_STATES.get(str(shown.get("status")), box.UNKNOWN),
        address=text(shown.get("ip")),
        private_address=text(shown.get("private_ip")),
        region=text(mapping(shown.get("region")).get("name")),
        type=text(kind.get("name")),
        gpus=number(mapping(kind.get("specs")).get("gpus")),
        price=_dollars(kind),
        tags=box.tags(shown.get("tags")),
    )


def _kind(name: str, shown: Json) -> Kind:
    kind = mapping(shown.get("instance_type"))
    regions = listing(shown.get("regions_with_capacity_available"))
    return Kind(
        name=name,
        provider=PROVIDER,
        gpu=text(kind.get("gpu_description")),
        gpus=number(mapping(kind.get("specs")).get("gpus")),
        price=_dollars(kind),
        regions=tuple(str(each["name"]) for each in regions if each.get("name")),
    )


def _dollars(kind: Json) -> float | None:
    cents = number(kind.get("price_cents_per_hour"))
    return None if cents is None else cents / 100


def _explain(status: int, answer: Json) -> CloudError:
    error = mapping(answer.get("error"))
    code, message = str(error.get("code") or ""), str(error.get("message") or f"HTTP {status}")
    suggestion = str(error.get("suggestion") or "")
    if status == 401:
        advice = f"check {KEY_VARIABLE} or the source's api_key; keys are at {KEYS_PAGE}"
        return CloudError(UNAUTHORIZED, f"lambda does not know the API key: {message}", advice)
    if code.endswith("insufficient-capacity"):
        advice = suggestion or "try another region or type, or later"
        return CloudError(OUT_OF_STOCK, f"lambda is out of stock: {message}", advice)
    if status == 403:
        advice = suggestion or "the account may lack a payment method or a quota"
        return CloudError(FORBIDDEN, f"lambda does not allow it: {message}", advice)
    if status == 404 or code.endswith("object-does-not-exist"):
        return CloudError(GONE, f"lambda has no such thing: {message}", suggestion)
    return CloudError(REFUSED, f"lambda refused ({code or status}): {message}", suggestion)
