"""Sends a file to the controller, which writes it. Ansible's `fetch`: src, fail_on_missing.

`dest`, `flat` and `validate_checksum` are the controller's.
"""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from provisioner.remote import files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "src": Argument("str", required=True),
    "fail_on_missing": Argument("bool", default=True),
    "dest": Argument("str"),
    "flat": Argument("bool", default=False),
    "validate_checksum": Argument("bool", default=True),
}

LIMIT = 8 * 1024 * 1024
CHUNK = 3 * 256 * 1024
"""Bytes of the file in one element of `content`; a multiple of three, so that the base64 texts
can also be joined."""


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Return `size`, `checksum` (SHA-1, Ansible's), `sha256` and `content`, a list of base64
    texts; without `content` there was no file, and none had to be."""
    if context.check:
        msg = "check mode not (yet) supported for this module"
        return {"changed": False, "skipped": True, "msg": msg}
    path = files.expand(arguments["src"])
    result: Result = {"changed": False, "file": path}
    try:
        with open(path, "rb") as file:
            data = file.read(LIMIT + 1)
    except OSError as error:
        if arguments["fail_on_missing"]:
            raise ModuleFailed(_reason(path, error), file=path) from None
        return {**result, "msg": f"{_reason(path, error)}, not transferring, ignored"}
    if len(data) > LIMIT:
        raise ModuleFailed(f"{path} is larger than {LIMIT >> 20} MiB, too large to fetch")
    chunks = [data[start : start + CHUNK] for start in range(0, len(data), CHUNK)]
    return {
        **result,
        "size": len(data),
        "checksum": hashlib.sha1(data).hexdigest(),  # noqa: S324 — what Ansible calls it by
        "sha256": hashlib.sha256(data).hexdigest(),
        "encoding": "base64",
        "content": [base64.b64encode(chunk).decode("ascii") for chunk in chunks],
    }


def _reason(path: str, error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "the remote file does not exist"
    if isinstance(error, IsADirectoryError):
        return "remote file is a directory, fetch cannot work on directories"
    return f"Unable to read {path}: {error.strerror}"
