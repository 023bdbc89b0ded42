"""Host keys that an authority has signed: OpenSSH's host certificates.

paramiko checks that the host holds the key of the certificate that it shows; whether the
certificate is worth anything is judged here.
"""

from __future__ import annotations

import time
from collections.abc import Iterable

import paramiko
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    SSHCertificate,
    SSHCertificateType,
    load_ssh_public_identity,
)

from provisioner.ssh import knownhosts


class BadCertificate(Exception):
    """The certificate does not vouch for the host."""


def authority_of(key: paramiko.PKey) -> bytes | None:
    """The public key that signed the certificate of a host's key, unproven; None without one.

    Raises BadCertificate for what can't be read.
    """
    return None if key.public_blob is None else _authority(_certificate(key))


def verify(key: paramiko.PKey, host: str, authorities: Iterable[bytes]) -> None:
    """Have one of `authorities`, which are public keys, vouch for a host's key by its certificate.

    Raises BadCertificate.
    """
    certificate = _certificate(key)
    if _authority(certificate) not in set(authorities):
        raise BadCertificate("its certificate is of an authority that is not known for this host")
    if certificate.type is not SSHCertificateType.HOST:
        raise BadCertificate("its certificate is a user's, not a host's")
    _verify_signature(certificate)
    if _as_blob(certificate.public_key()) != key.asbytes():
        raise BadCertificate("its certificate is of another key")
    if certificate.critical_options:
        raise BadCertificate("its certificate demands what is not known")
    _verify_time(certificate)
    _verify_principals(certificate, host)


def _certificate(key: paramiko.PKey) -> SSHCertificate:
    blob = key.public_blob
    assert blob is not None
    line = knownhosts.line_of("", blob.key_type, blob.key_blob, hashed=False)
    try:
        found = load_ssh_public_identity(line.strip().encode())
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("its certificate can't be read") from None
    if not isinstance(found, SSHCertificate):
        raise BadCertificate("it is no certificate")
    return found


def _authority(certificate: SSHCertificate) -> bytes:
    try:
        return _as_blob(certificate.signature_key())
    except (ValueError, UnsupportedAlgorithm):
        raise BadCertificate("the key of its certificate's authority can't be read") from None


def _as_blob(key: object) -> bytes:
    line: bytes = key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)  # type: ignore[attr-defined]
    entry = knownhosts.parse(f"- {line.decode()}")[0]
    return entry.blob


def _verify_signature(certificate: SSHCertificate) -> None:
    # as OpenSSH does: nothing that SHA-1 has signed
    if bytes(certificate._inner_sig_type) == b"ssh-rsa":
        raise BadCertificate("its certificate is signed with SHA-1")
    try:
        certificate.verify_cert_signature()
    except (InvalidSignature, ValueError, AssertionError):
        raise BadCertificate("the signature of its certificate is wrong") from None


def _verify_time(certificate: SSHCertificate) -> None:
    now = time.time()
    if now < certificate.valid_after:
        raise BadCertificate("its certificate is not valid yet")
    if now >= certificate.valid_before:
        raise BadCertificate("its certificate has expired")


def _verify_principals(certificate: SSHCertificate, host: str) -> None:
    names = [each.decode(errors="replace") for each in certificate.valid_principals]
    # OpenSSH takes a certificate without names for one of all hosts
    if not names:
        raise BadCertificate("its certificate names no host (sign it with ssh-keygen -n)")
    if not any(knownhosts.matches(each.lower(), host.lower()) for each in names):
        raise BadCertificate(f"its certificate is for {', '.join(names)}")
