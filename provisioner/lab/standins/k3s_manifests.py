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
    for document in re.split(r"^---.*$", text, flags=re.M):
        kind, name = _KIND.search(document), _NAME.search(document)
        if not kind or not name:
            continue
        account = _ACCOUNT.search(document)
        made = False
        if kind.group(1) == "Secret" and account:
            token = secrets.token_urlsafe(64)
            made = cluster.add_token_secret(name.group(1), account.group(1), token)
        yield f"{kind.group(1).lower()}/{name.group(1)} {'created' if made else 'unchanged'}"
