"""What apt knows of packages that could be installed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from provisioner.remote import process
from provisioner.remote.module import ModuleFailed

TIMEOUT = 120.0
_VERSION = re.compile(r" (?:\*\*\*|   ) (\S+) -?\d+$")


@dataclass
class Policy:
    """The version that apt would install ("": none), and all that there are, newest first."""

    candidate: str = ""
    versions: list[str] = field(default_factory=list)


def policy(names: Sequence[str], release: str | None = None) -> dict[str, Policy]:
    """The policy of each package that apt has heard of; virtual ones have no versions."""
    target = ["-t", release] if release else []
    found: dict[str, Policy] = {}
    current = Policy()
    for line in _ask(*target, "policy", *names).splitlines():
        version = _VERSION.match(line)
        if line.endswith(":") and not line.startswith(" "):
            current = found.setdefault(line[:-1], Policy())
        elif line.startswith("  Candidate: "):
            word = line.split()[1]
            current.candidate = "" if word == "(none)" else word
        elif version:
            current.versions.append(version[1])
    return found


def names() -> list[str]:
    """The names of all packages that there are."""
    return _ask("pkgnames").split()


def provided(name: str) -> bool:
    """Whether a package that could be installed provides this virtual one."""
    _, _, providers = _ask("showpkg", name).partition("Reverse Provides:")
    return bool(providers.strip())


def _ask(*words: str) -> str:
    outcome = process.run(["apt-cache", *words], timeout=TIMEOUT)
    if outcome.rc != 0 and not outcome.stderr.startswith(("N: Unable", "E: No packages found")):
        raise ModuleFailed(f"apt-cache failed: {outcome.said}", rc=outcome.rc)
    return outcome.stdout
