"""Checks that are all made before anything is said, so that all failures come at once."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from provisioner.remote.module import ModuleFailed, Result

ERROR = "error"
WARN = "warn"


@dataclass
class Checks:
    """The findings of one pass: each with what was found, what is wanted and the way out."""

    found: list[dict[str, Any]] = field(default_factory=list)

    def add(
        self,
        name: str,
        ok: bool,
        found: object,
        wanted: object,
        fix: str = "",
        severity: str = ERROR,
    ) -> bool:
        """Note a check; `fix` only shows when it failed. Returns `ok`."""
        entry = {"name": name, "ok": ok, "severity": severity, "found": found, "wanted": wanted}
        self.found.append({**entry, "fix": "" if ok else fix})
        return ok

    def failed(self, severity: str) -> list[dict[str, Any]]:
        """What failed with this severity."""
        return [c for c in self.found if not c["ok"] and c["severity"] == severity]

    def finish(self, what: str, **extra: Any) -> Result:
        """The module's result; raises ModuleFailed with every failure in its message."""
        warnings = [describe(check) for check in self.failed(WARN)]
        result: Result = {"checks": self.found, "warnings": warnings, **extra}
        errors = [describe(check) for check in self.failed(ERROR)]
        if errors:
            count = f"{len(errors)} of {len(self.found)} {what} checks failed"
            raise ModuleFailed("\n".join([f"{count}:", *(f"- {e}" for e in errors)]), **result)
        return {"changed": False, "msg": f"{len(self.found)} {what} checks passed", **result}


def describe(check: dict[str, Any]) -> str:
    """A failed check as one line."""
    line = f"{check['name']}: found {check['found']}, wanted {check['wanted']}"
    return f"{line}; {check['fix']}" if check["fix"] else line


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it: "22.04" → (22, 4)."""
    numbers = []
    for word in text.split("."):
        digits = "".join(c for c in word if c.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
