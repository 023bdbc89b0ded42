"""What dpkg knows of this host's packages. Asking takes no lock."""

from __future__ import annotations

from collections.abc import Sequence

from provisioner.remote import process
from provisioner.remote.module import ModuleFailed

TIMEOUT = 60.0


def query(fields: Sequence[str], names: Sequence[str] = ()) -> list[list[str]]:
    """These fields of the packages that dpkg knows, or of those of `names`: a row for each."""
    form = "\t".join(f"${{{field}}}" for field in fields) + "\n"
    argv = ["dpkg-query", "-W", "-f", form]
    outcome = process.run([*argv, "--", *names] if names else argv, timeout=TIMEOUT)
    if outcome.rc not in (0, 1):  # 1: it doesn't know some of the names
        raise ModuleFailed(f"dpkg-query failed: {outcome.said}", rc=outcome.rc)
    return [line.split("\t") for line in outcome.stdout.splitlines()]


def status(names: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Version and status of each of the packages, by its name without and with architecture."""
    found: dict[str, tuple[str, str]] = {}
    for package, qualified, version, state in query(
        ("Package", "binary:Package", "Version", "db:Status-Status"), names
    ):
        for name in (package, qualified):
            if found.get(name, ("", ""))[1] != "installed":
                found[name] = (version, state)
    return found


def provided() -> set[str]:
    """The virtual packages that installed ones provide."""
    rows = query(("db:Status-Status", "Provides"))
    provides = [row[1] for row in rows if row[0] == "installed"]
    return {word.split()[0] for line in provides for word in line.split(",") if word.strip()}


def fits(version: str, operator: str, wanted: str) -> bool:
    """Compare versions as Debian does; `operator` is one of lt le eq ge gt."""
    argv = ["dpkg", "--compare-versions", version, operator, wanted]
    return process.run(argv, timeout=TIMEOUT).rc == 0


def of_file(path: str) -> tuple[str, str]:
    """Name and version of the package in a .deb file."""
    form = "--showformat=${Package}\t${Version}"
    outcome = process.run(["dpkg-deb", "-W", form, path], timeout=TIMEOUT)
    if outcome.rc != 0:
        raise ModuleFailed(f"{path} is no Debian package: {outcome.said}")
    package, _, version = outcome.stdout.partition("\t")
    return package, version
