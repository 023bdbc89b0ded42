"""What a vendor says and has: published hashes, and the file itself, hashed as it comes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

import requests

from provisioner.artifacts.lock import Entry
from provisioner.artifacts.vendor import VENDORS, sums_url

_TIMEOUT = (15.0, 60.0)  # seconds to connect, and of silence
_BLOCK = 1 << 18  # bytes
_LONGEST_SUMS = 1 << 20  # bytes of a file of hashes
_HEADERS = {"User-Agent": "b9prov", "Accept-Encoding": "identity"}

Progress = Callable[[int, int, str], None]


class VendorFailed(Exception):
    """The vendor can't be asked, or says something that can't be."""

    def __init__(self, message: str, advice: str = "") -> None:
        super().__init__(message)
        self.advice = advice


@dataclass(frozen=True)
class Seen:
    """A file as it came: its hash and its size in bytes."""

    sha256: str
    size: int


def published(entry: Entry) -> str | None:
    """The hash that the vendor publishes of a file; None where it publishes none.

    Raises VendorFailed.
    """
    if entry.name not in VENDORS:
        return None
    url = sums_url(entry.name, entry.version, entry.arch)
    answer = _get(url)
    try:
        if answer.status_code == 404:
            return None
        _refuse_error(answer, url)
        text = next(answer.iter_content(_LONGEST_SUMS), b"").decode(errors="replace")
    except requests.RequestException as error:
        raise VendorFailed(f"{url}: {_reason(error)}") from None
    finally:
        answer.close()
    return _named(text, PurePosixPath(unquote(urlsplit(entry.url).path)).name)


def _named(text: str, file: str) -> str | None:
    """The hash of a file in the output of sha256sum."""
    for line in text.splitlines():
        words = line.split(maxsplit=1)
        if len(words) == 2 and words[1].strip().lstrip("*").removeprefix("./") == file:
            return words[0].lower()
    return None


def seen(entry: Entry, progress: Progress) -> Seen:
    """Load the file from its URL, hash it, keep nothing. Raises VendorFailed."""
    answer = _get(entry.url)
    hashed, done = hashlib.sha256(), 0
    try:
        _refuse_error(answer, entry.url)
        length = int(answer.headers.get("Content-Length") or 0)
        for block in answer.iter_content(_BLOCK):
            hashed.update(block)
            done += len(block)
            progress(done, length, str(entry))
    except requests.RequestException as error:
        raise VendorFailed(f"{entry.url}: {_reason(error)}", "run it again") from None
    finally:
        answer.close()
    if length and done != length:
        raise VendorFailed(f"{entry.url}: broke off at byte {done} of {length}", "run it again")
    return Seen(hashed.hexdigest(), done)


def _get(url: str) -> requests.Response:
    try:
        return requests.get(url, stream=True, timeout=_TIMEOUT, headers=_HEADERS)
    except requests.RequestException as error:
        advice = "this machine must reach it; or give --url with a mirror that it reaches"
        raise VendorFailed(f"{url}: {_reason(error)}", advice) from None


def _refuse_error(answer: requests.Response, url: str) -> None:
    if not answer.ok:
        advice = "is the version right?" if answer.status_code == 404 else ""
        raise VendorFailed(f"{url}: HTTP {answer.status_code} {answer.reason}", advice)


def _reason(error: requests.RequestException) -> str:
    """What is at the bottom of it."""
    inner: BaseException = error
    while inner.__cause__ or inner.__context__:
        inner = inner.__cause__ or inner.__context__ or inner
    return str(getattr(inner, "strerror", "") or inner)
