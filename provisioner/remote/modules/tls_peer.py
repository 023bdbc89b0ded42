"""Who is behind a TLS port, by the certificate that it proves to own.

Not of Ansible. Arguments: `host, port, timeout`. Returns `sha256`, the certificate's digest.

In each handshake the server signs a number that we have just made up, so the same digest from two
places is the same server, and not somebody who once saw what it says.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
from typing import Any

from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "host": Argument("str", default="127.0.0.1"),
    "port": Argument("int", required=True),
    "timeout": Argument("float", default=5.0),  # seconds
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Shake hands; the same in a dry run."""
    host, port, timeout = arguments["host"], arguments["port"], arguments["timeout"]
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    tls.check_hostname, tls.verify_mode = False, ssl.CERT_NONE  # the certificate is the answer
    try:
        with socket.create_connection((host, port), timeout) as plain:
            plain.settimeout(timeout)
            with tls.wrap_socket(plain) as secured:
                certificate = secured.getpeercert(binary_form=True) or b""
    except socket.timeout:  # noqa: UP041 (an alias of TimeoutError only from Python 3.10 on)
        raise ModuleFailed(f"nothing from {host}:{port} within {timeout:g} s") from None
    except OSError as error:
        reason = error.strerror or str(error)
        raise ModuleFailed(f"no TLS with {host}:{port}: {reason}") from None
    return {"changed": False, "sha256": hashlib.sha256(certificate).hexdigest()}
