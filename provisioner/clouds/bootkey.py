"""The SSH host key that a machine is born with, so that its first connection can be verified."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from provisioner.secrets import Secret

_SCRIPT = """\
#!/bin/sh
# The host's first SSH host key. It is replaced by one that only the host has seen.
set -eu
[ ! -e /var/lib/b9prov-host-key ] || exit 0
umask 077
rm -f /etc/ssh/ssh_host_*_key /etc/ssh/ssh_host_*_key.pub
cat > /etc/ssh/ssh_host_ed25519_key <<'KEY'
{private}KEY
umask 022
echo '{public}' > /etc/ssh/ssh_host_ed25519_key.pub
touch /var/lib/b9prov-host-key
systemctl restart ssh 2>/dev/null || systemctl restart sshd
"""


@dataclass(frozen=True)
class HostKey:
    """A key pair: `public` as `ssh-ed25519 AAAA…`, `private` in OpenSSH's format."""

    public: str
    private: Secret = field(repr=False)

    @classmethod
    def made(cls) -> HostKey:
        """A new one."""
        key = Ed25519PrivateKey.generate()
        private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
        public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
        return cls(public.decode(), Secret(private.decode()))

    def cloud_config(self) -> str:
        """User data that has cloud-init give it to the host, and no other."""
        settings = {
            "ssh_deletekeys": True,
            "ssh_keys": {
                "ed25519_private": self.private.reveal(),
                "ed25519_public": self.public,
            },
        }
        return "#cloud-config\n" + json.dumps(settings, indent=1) + "\n"  # JSON is YAML

    def script(self) -> str:
        """A start script that does the same, once, however often it is run."""
        return _SCRIPT.format(private=self.private.reveal(), public=self.public)
