"""Who may ask what, and how often."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from provisioner.agent.control.web import Refused, Request
from provisioner.agent.settings import is_address

OPEN = ("/health",)  # for anybody who gets through
RATE, BURST = 20.0, 60.0  # requests a second, and at once
CHANGES, CHANGES_BURST = 1.0, 10.0  # of those that do something


class Bucket:
    """Lets through `rate` a second, and `burst` at once."""

    def __init__(
        self, rate: float, burst: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate, self._burst, self._now = rate, burst, now
        self._left, self._at = burst, now()
        self._guard = threading.Lock()

    def take(self) -> float:
        """0, or the seconds until the next may come."""
        with self._guard:
            now = self._now()
            self._left = min(self._burst, self._left + (now - self._at) * self._rate)
            self._at = now
            if self._left < 1:
                return (1 - self._left) / self._rate
            self._left -= 1
            return 0.0


class Guard:
    """`token` is what callers must show; without one, only callers of this machine are served.

    Of those, web pages that are open in a browser here are not: another site's, or one whose name
    was made to point at this machine.
    """

    def __init__(self, token: str) -> None:
        self._token = token
        self._all, self._changes = Bucket(RATE, BURST), Bucket(CHANGES, CHANGES_BURST)

    def admit(self, request: Request, changes: bool) -> None:
        """Raises Refused for who may not, or not now."""
        wait = self._all.take() or (changes and self._changes.take())
        if wait:
            raise Refused(429, "too many requests", Retry_After=str(int(wait) + 1))
        if request.path in OPEN:
            return
        if self._token:
            self._check_token(request)
        elif not _is_of_here(request):
            raise Refused(403, "not for web pages: set a token (control.token)")

    def _check_token(self, request: Request) -> None:
        import hmac  # much to load, where there is a token only

        scheme, _, shown = request.headers.get("authorization", "").partition(" ")
        given, wanted = shown.strip().encode(), self._token.encode()
        if scheme.lower() != "bearer" or not hmac.compare_digest(given, wanted):
            raise Refused(401, "wants the bearer token (control.token)", WWW_Authenticate="Bearer")


def _is_of_here(request: Request) -> bool:
    if "origin" in request.headers:
        return False
    try:
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return False
    return host in ("localhost", "::1") or (host.startswith("127.") and is_address(host))
