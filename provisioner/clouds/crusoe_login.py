"""Who we are at Crusoe: as its own tools have it, in their order of precedence."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from provisioner.clouds.errors import CREDENTIALS, CloudError
from provisioner.secrets import Secret, revealed

API = "https://api.cloud.crusoe.ai/v1"
CONFIG = "~/.crusoe/config"
_SECTION = re.compile(r"\[\s*(?:\"([^\"]*)\"|'([^']*)'|([\w.-]+))\s*\]\s*(?:#.*)?")
_VALUE = re.compile(r"([\w-]+)\s*=\s*(?:\"([^\"\\]*)\"|'([^']*)')\s*(?:#.*)?")


@dataclass(frozen=True)
class Login:
    """Key, project and where to."""

    access_key: str
    secret_key: Secret
    project: str
    api: str

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Login:
        """By a source's settings, the environment, and the profile of ~/.crusoe/config.

        Raises CloudError.
        """
        profile = _profile(settings.get("profile"))

        def find(key: str, variable: str, in_profile: str) -> str:
            given = revealed(settings.get(key)) or os.environ.get(variable)
            return str(given or profile.get(in_profile) or "").strip()

        access = find("access_key_id", "CRUSOE_ACCESS_KEY_ID", "access_key_id")
        secret = find("secret_key", "CRUSOE_SECRET_KEY", "secret_key")
        project = find("project", "CRUSOE_DEFAULT_PROJECT", "default_project")
        lacking = [
            name
            for name, value in (
                ("CRUSOE_ACCESS_KEY_ID", access),
                ("CRUSOE_SECRET_KEY", secret),
                ("CRUSOE_DEFAULT_PROJECT", project),
            )
            if not value
        ]
        if lacking:
            raise CloudError(
                CREDENTIALS,
                f"crusoe: {', '.join(lacking)} not given",
                f"export them, or have them in {CONFIG} (`crusoe config init`)",
            )
        api = find("api", "CRUSOE_API_ENDPOINT", "api_endpoint") or API
        return cls(access, Secret(secret), project, api)


def _profile(wanted: str | None) -> dict[str, str]:
    path = Path(CONFIG).expanduser()
    try:
        sections = _read(path.read_text("utf-8"))
    except FileNotFoundError:
        sections = {}
    except (OSError, UnicodeDecodeError) as error:
        raise CloudError(CREDENTIALS, f"can't read {path}: {error}") from None
    name = wanted or os.environ.get("CRUSOE_PROFILE") or sections.get("", {}).get("profile")
    if wanted and wanted not in sections:
        raise CloudError(CREDENTIALS, f"{path} has no profile {wanted!r}")
    return sections.get(name or "default", {})


def _read(text: str) -> dict[str, dict[str, str]]:
    """Texts by section, "" for those before the first: all that the file has of TOML, for which
    Python 3.10 has no reader."""
    sections: dict[str, dict[str, str]] = {"": {}}
    here = sections[""]
    for line in map(str.strip, text.splitlines()):
        if match := _SECTION.fullmatch(line):
            here = sections.setdefault(next(filter(None, match.groups()), ""), {})
        elif match := _VALUE.fullmatch(line):
            here[match[1]] = match[2] or match[3] or ""
    return sections
