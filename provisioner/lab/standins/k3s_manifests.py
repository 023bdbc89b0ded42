"""Of manifests, what the stand-in makes of them: tokens for ServiceAccount token Secrets."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from provisioner.lab.standins.k3s_api import Cluster

_KIND = re.compile(r"^kind:\s*[\"']?(\w+)", re.M)
_ACCOUNT = re.compile(r"kubernetes\.io/service-account\.name[\"']?:\s*[\"']?([a-z0-9.-]+)")
_NAME = re.compile(r"(?<![\w./-])name:\s*[\"']?([a-z0-9.-]+)")


def deploy(cluster: Cluster, text: str) -> Iterator[str]:
    """Apply the documents; of each what kubectl says of it. The rest is as the stand-in has it."""
    for kind, name, account in _documents(text):
        made = False
        if account:
            made = cluster.add_token_secret(name, account, secrets.token_urlsafe(64))
        yield f"{kind}/{name} {'created' if made else 'unchanged'}"


def withdraw(cluster: Cluster, text: str) -> Iterator[str]:
    """Delete what the documents made; of each that was there what kubectl says of it."""
    for kind, name, account in _documents(text):
        if account and cluster.drop_token_secret(name):
            yield f'{kind} "{name}" deleted'


def _documents(text: str) -> Iterator[tuple[str, str, str]]:
    """Kind, name, and of a token Secret its ServiceAccount."""
    for document in re.split(r"^---.*$", text, flags=re.M):
        kind, name = _KIND.search(document), _NAME.search(document)
        if kind and name:
            account = _ACCOUNT.search(document) if kind.group(1) == "Secret" else None
            yield kind.group(1).lower(), name.group(1), account.group(1) if account else ""
