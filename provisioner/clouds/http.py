"""HTTP as providers want it: paced, patient with 429 and 5xx, and never longer than a deadline."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.auth import AuthBase

from provisioner.clouds.errors import CREDENTIALS, TOO_MANY, UNREACHABLE, CloudError

TIMEOUT = 30.0  # seconds for one answer
DEADLINE = 60.0  # seconds for a call with all its repetitions
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 15.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")

Json = dict[str, Any]
Explain = Callable[[int, Json], CloudError]

_paced: dict[str, float] = {}  # when the next request of a kind may go
_lock = threading.Lock()


class Api:
    """A provider's API. `explain` makes an error of an answer that is none of 200 to 299."""

    def __init__(
        self,
        provider: str,
        base: str,
        auth: AuthBase,
        explain: Explain,
        pace: float = 0.0,
        patience: float = DEADLINE,
    ) -> None:
        self.provider, self.base, self.pace = provider, base.rstrip("/"), pace
        self._auth, self._explain, self._patience = auth, explain, patience
        self._session = requests.Session()
        _check_private(provider, self.base)

    def get(self, path: str, query: Mapping[str, str] | None = None) -> Json:
        """What is there. Repeated until the deadline."""
        return self.call("GET", path, query=query)

    def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        query: Mapping[str, str] | None = None,
        once: bool = False,
        pace: tuple[str, float] | None = None,
    ) -> Json:
        """The answer. What must not be done twice is asked for `once`: again only when it was
        refused for its rate. `pace` is a further rate, its name and the seconds between two."""
        give_up = time.monotonic() + self._patience
        pause = _FIRST_PAUSE
        while True:
            for name, seconds in (("", self.pace), pace or ("", 0.0)):
                _wait_turn(f"{self.base} {name}", seconds)
            error, again = self._try(method, path, body, query, once)
            if error is None:
                return again
            wait = float(again.get("after") or pause)
            if not again.get("may") or time.monotonic() + wait > give_up:
                raise error
            time.sleep(wait)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _try(
        self, method: str, path: str, body: Any, query: Any, once: bool
    ) -> tuple[CloudError | None, Json]:
        """The answer; or an error, with whether it `may` be tried again, and `after` how long."""
        try:
            response = self._session.request(
                method,
                f"{self.base}{path}",
                params=query,
                json=body,
                auth=self._auth,
                timeout=min(TIMEOUT, self._patience),
                allow_redirects=False,  # the key is for this address and no other
            )
        except requests.RequestException as error:
            return self._unreachable(_reason(error)), {"may": not once}
        answer = _json(response)
        status = response.status_code
        if status // 100 == 2:
            if answer is not None:
                return None, answer
            return self._unreachable(f"{method} {path} was not answered in JSON"), {}
        if status == 429:
            refused = CloudError(
                TOO_MANY,
                f"{self.provider} refuses more requests for now (429)",
                "other programs use the same key; try again in a minute",
            )
            return refused, {"may": True, "after": _seconds(response.headers.get("Retry-After"))}
        if status >= 500:
            return self._unreachable(f"{method} {path} answered {status}"), {"may": not once}
        return self._explain(status, answer or {}), {}

    def _unreachable(self, why: str) -> CloudError:
        place = urlsplit(self.base).netloc
        return CloudError(
            UNREACHABLE,
            f"{self.provider} gives no answer at {place}: {why}",
            "check the network, a proxy's settings (HTTPS_PROXY) and the provider's status page",
        )


def _check_private(provider: str, base: str) -> None:
    parts = urlsplit(base)
    if parts.scheme != "https" and parts.hostname not in _LOOPBACK:
        raise CloudError(
            CREDENTIALS,
            f"{provider}: {base} would carry the API key in the clear",
            "give its API as https://…; plain http is for loopback",
        )


def _wait_turn(name: str, seconds: float) -> None:
    """Until a request may go: those of the whole process are `seconds` apart."""
    if not seconds:
        return
    with _lock:
        now = time.monotonic()
        turn = max(now, _paced.get(name, 0.0))
        _paced[name] = turn + seconds
    time.sleep(turn - now)


def _seconds(header: str | None) -> float | None:
    return float(header) if header and header.isascii() and header.isdigit() else None


def _json(response: requests.Response) -> Json | None:
    if not response.content.strip():
        return {}
    try:
        answer = response.json()
    except ValueError:
        return None
    return answer if isinstance(answer, dict) else None


def _reason(error: requests.RequestException) -> str:
    """What lies under the layers of requests and urllib3, in a few words."""
    if isinstance(error, requests.Timeout):
        return f"nothing came within {TIMEOUT:g} s"
    if isinstance(error, requests.exceptions.SSLError):
        return "its certificate is not believed"
    inner: BaseException = error
    for _ in range(8):
        inner = getattr(inner, "reason", None) or inner.__context__ or inner
        if isinstance(inner, OSError) and inner.strerror:
            return inner.strerror
    return type(error).__name__
