"""Checks that are all made before anything is said, so that all failures come at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from provisioner.remote.module import ModuleFailed, Result

ERROR = "error"
WARN = "warn"
SKIP = "skip"
"""Of a check that could not be made; it is no failure."""


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

    def skip(self, name: str, why: str) -> None:
        """Note that there is nothing to judge yet."""
        entry = {"name": name, "ok": True, "severity": SKIP, "found": why, "wanted": "", "fix": ""}
        self.found.append(entry)

    def failed(self, severity: str) -> list[dict[str, Any]]:
        """What failed with this severity."""
        return [c for c in self.found if not c["ok"] and c["severity"] == severity]

    def soften(self, names: Iterable[str]) -> None:
        """Make warnings of the checks with these names; a name is a check's first word."""
        for check in self.found:
            if check["name"].split(" ")[0] in names:
                check["severity"] = WARN

    def finish(self, what: str, **extra: Any) -> Result:
        """The module's result; raises ModuleFailed with every failure and the ways out."""
        warnings = [describe(check) for check in self.failed(WARN)]
        result: Result = {"checks": self.found, "warnings": warnings, **extra}
        errors = self.failed(ERROR)
        if errors:
            count = f"{len(errors)} of {len(self.found)} {what} checks failed"
            message = "\n".join([f"{count}:", *(f"- {_difference(check)}" for check in errors)])
            raise ModuleFailed(message, advice=_ways_out(errors), **result)
        return {"changed": False, "msg": f"{len(self.found)} {what} checks passed", **result}


def describe(check: dict[str, Any]) -> str:
    """A failed check as one line."""
    line = _difference(check)
    return f"{line}; {check['fix']}" if check["fix"] else line


def _difference(check: dict[str, Any]) -> str:
    return f"{check['name']}: found {check['found']}, wanted {check['wanted']}"


def _ways_out(failed: list[dict[str, Any]]) -> str:
    """What to do about each failure; which one it is about only where there are several."""
    if len(failed) == 1:
        return str(failed[0]["fix"])
    return "; ".join(f"{check['name']}: {check['fix']}" for check in failed if check["fix"])


def version(text: str) -> tuple[int, ...]:
    """The numbers of a version, to compare it: "22.04" → (22, 4)."""
    numbers = []
    for word in text.split("."):
        digits = "".join(c for c in word if c.isdigit())
        if not digits:
            break
        numbers.append(int(digits))
    return tuple(numbers)
