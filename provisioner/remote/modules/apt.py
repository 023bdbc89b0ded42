"""Debian packages. Ansible's `apt`: name, state, update_cache, cache_valid_time, lock_timeout…

dpkg's database decides what is to be done, so apt runs only when something is. The package
lists are read anew (`update_cache`) only then too, or when no package is named.
"""

from __future__ import annotations

import fnmatch
import os
import re
import time
from typing import Any

from provisioner.remote import aptlock, files, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("list", aliases=("package", "pkg")),
    "state": Argument("str", default="present", choices=("present", "absent", "latest")),
    "update_cache": Argument("bool", default=False, aliases=("update-cache",)),
    "cache_valid_time": Argument("int", default=0),
    "lock_timeout": Argument("int", default=60),
    "install_recommends": Argument("bool", aliases=("install-recommends",)),
    "default_release": Argument("str", aliases=("default-release",)),
    "allow_downgrade": Argument("bool", default=False, aliases=("allow-downgrade",)),
    "purge": Argument("bool", default=False),
    "autoremove": Argument("bool", default=False),
    "deb": Argument("str"),
    "dpkg_options": Argument("str", default="force-confdef,force-confold"),
}

TIMEOUT = 1800.0
ENVIRONMENT = {
    "DEBIAN_FRONTEND": "noninteractive",
    "DEBIAN_PRIORITY": "critical",
    "APT_LISTCHANGES_FRONTEND": "none",
    # Ubuntu's needrestart would ask, or restart services under our feet
    "NEEDRESTART_SUSPEND": "1",
}
STAMPS = ("/var/lib/apt/periodic/update-success-stamp", "/var/lib/apt/lists")
_LOCKED = re.compile(r"Could not get lock|Unable to (?:acquire|lock)")


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the packages into their state."""
    names = [str(name) for name in arguments["name"] or [] if str(name)]
    if any("*" in name.split("=")[0] for name in names):
        raise ModuleFailed("wildcards in a package's name are not supported")
    if not (names or arguments["deb"] or arguments["update_cache"] or arguments["autoremove"]):
        raise ModuleFailed("one of the following is required: name, deb, update_cache, autoremove")
    apt = _Apt(arguments, context)
    if arguments["deb"]:
        names.append(_deb(arguments["deb"]))
    alone = not names
    if arguments["update_cache"] and (alone or arguments["state"] == "latest"):
        apt.update()
    words = _action(names, arguments)
    if words:
        if arguments["update_cache"] and arguments["state"] == "present":
            apt.update()
        apt.get(*words)
        apt.result["changed"] = True
    elif arguments["autoremove"] and alone:
        apt.autoremove()
    if alone and apt.result["cache_updated"]:
        apt.result["changed"] = True
    return apt.result


class _Apt:
    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.arguments = arguments
        self.context = context
        self.deadline = time.monotonic() + arguments["lock_timeout"]
        self.result: Result = {"changed": False, "cache_updated": False}
        self.result["cache_update_time"] = _updated()

    def update(self) -> None:
        """Read the package lists anew, unless they are young enough."""
        if self.result["cache_updated"]:
            return
        if time.time() - _updated() < self.arguments["cache_valid_time"]:
            return
        self.get("update")
        self.result["cache_updated"] = True
        if not self.context.check:
            self.result["cache_update_time"] = _updated()

    def autoremove(self) -> None:
        """Remove what nothing needs any more, if there is such."""
        outcome = process.run(
            ["apt-get", "--simulate", "autoremove"], env=ENVIRONMENT, timeout=TIMEOUT
        )
        if re.search(r"^Remv ", outcome.stdout, re.MULTILINE):
            self.get("autoremove", *(["--purge"] if self.arguments["purge"] else []))
            self.result["changed"] = True

    def get(self, *words: str) -> None:
        """Run apt-get once its locks are free; one that slips in between is waited for too."""
        if self.context.check:
            return
        options = ["-y", "-q", "-o", "Dpkg::Use-Pty=0", "-o", f"DPkg::Lock::Timeout={self._left()}"]
        for option in self.arguments["dpkg_options"].split(","):
            options += ["-o", f"Dpkg::Options::=--{option.strip()}"]
        while True:
            self._wait()
            outcome = process.run(["apt-get", *options, *words], env=ENVIRONMENT, timeout=TIMEOUT)
            if outcome.rc == 0:
                self.result.update(stdout=outcome.stdout, stderr=outcome.stderr)
                return
            if not (_LOCKED.search(outcome.stderr) and self._left()):
                raise ModuleFailed(
                    _complaint(words, outcome),
                    rc=outcome.rc,
                    stdout=outcome.stdout,
                    stderr=outcome.stderr,
                )

    def _left(self) -> int:
        return max(0, int(self.deadline - time.monotonic()))

    def _wait(self) -> None:
        held = aptlock.wait_until_free(self._left())
        if held:
            limit = self.arguments["lock_timeout"]
            raise ModuleFailed(
                f"apt is busy for more than {limit} s: {held}; wait for it to end, "
                "or raise lock_timeout",
                lock=held.path,
                holder=held.holder,
            )


def _action(names: list[str], arguments: dict[str, Any]) -> list[str]:
    """The words for apt-get, none when all is as it should be."""
    if not names:
        return []
    installed = _installed(names)
    if arguments["state"] == "absent":
        # a package that is gone may have left its configuration for a purge
        there = ("installed", "config-files") if arguments["purge"] else ("installed",)
        unwanted = [n for n in names if installed.get(_bare(n), ("", ""))[1] in there]
        options = [f"--{o}" for o in ("purge", "autoremove") if arguments[o]]
        return ["remove", *options, *unwanted] if unwanted else []
    missing = [name for name in names if not _satisfied(name, installed)]
    if missing:
        provided = _provided()
        missing = [n for n in missing if "=" in n or "/" in n or n not in provided]
    if arguments["state"] == "latest":
        missing += [n for n in names if n not in missing and _outdated(n, installed)]
    if not missing:
        return []
    options = []
    if arguments["install_recommends"] is not None:
        options.append(f"--{'' if arguments['install_recommends'] else 'no-'}install-recommends")
    if arguments["allow_downgrade"]:
        options.append("--allow-downgrades")
    if arguments["default_release"]:
        options += ["-t", arguments["default_release"]]
    return ["install", *options, *missing]


def _bare(name: str) -> str:
    return re.split("[=/]", name)[0] if not os.path.isabs(name) else _deb_fields(name)[0]


def _satisfied(name: str, installed: dict[str, tuple[str, str]]) -> bool:
    version, status = installed.get(_bare(name), ("", ""))
    if status != "installed":
        return False
    if os.path.isabs(name):
        return version == _deb_fields(name)[1]
    return fnmatch.fnmatchcase(version, name.partition("=")[2] or "*")


def _installed(names: list[str]) -> dict[str, tuple[str, str]]:
    """Version and status of those of the packages that dpkg knows."""
    form = "${Package}\t${binary:Package}\t${Version}\t${db:Status-Status}\n"
    wanted = [_bare(name) for name in names]
    outcome = process.run(["dpkg-query", "-W", "-f", form, "--", *wanted], timeout=60)
    if outcome.rc not in (0, 1):
        raise ModuleFailed(f"dpkg-query failed: {outcome.said}", rc=outcome.rc)
    found: dict[str, tuple[str, str]] = {}
    for line in outcome.stdout.splitlines():
        package, qualified, version, status = line.split("\t")
        for name in (package, qualified):
            if found.get(name, ("", ""))[1] != "installed":
                found[name] = (version, status)
    return found


def _provided() -> set[str]:
    """The virtual packages that installed ones provide."""
    form = "${db:Status-Status}\t${Provides}\n"
    outcome = process.run(["dpkg-query", "-W", "-f", form], timeout=60)
    lines = [line.partition("\t")[2] for line in outcome.stdout.splitlines()]
    return {word.split()[0] for line in lines for word in line.split(",") if word.strip()}


def _outdated(name: str, installed: dict[str, tuple[str, str]]) -> bool:
    if "=" in name or os.path.isabs(name):
        return False
    outcome = process.run(["apt-cache", "policy", _bare(name)], timeout=60)
    match = re.search(r"^\s*Candidate: (\S+)", outcome.stdout, re.MULTILINE)
    candidate = match[1] if match else "(none)"
    return candidate not in ("(none)", installed.get(_bare(name), ("", ""))[0])


def _deb(path: str) -> str:
    path = os.path.abspath(files.expand(path))
    if not os.path.exists(path):
        raise ModuleFailed(f"deb file {path} not found")
    return path


def _deb_fields(path: str) -> tuple[str, str]:
    outcome = process.run(
        ["dpkg-deb", "-W", "--showformat=${Package}\t${Version}", path], timeout=60
    )
    if outcome.rc != 0:
        raise ModuleFailed(f"{path} is no Debian package: {outcome.said}")
    package, _, version = outcome.stdout.partition("\t")
    return package, version


def _updated() -> int:
    """When the package lists were last read, in seconds since the epoch."""
    for path in STAMPS:
        try:
            return int(os.stat(path).st_mtime)
        except OSError:
            continue
    return 0


def _complaint(words: tuple[str, ...], outcome: process.Outcome) -> str:
    if outcome.timed_out:
        return f"apt-get {words[0]} did not end within {TIMEOUT:.0f} s"
    text = f"apt-get {words[0]} failed: {outcome.said}"
    if "Unable to locate package" in outcome.stderr:
        text += " (the package lists may be old: update_cache: true)"
    elif "dpkg --configure -a" in outcome.stderr:
        text += " (an earlier installation was cut off: run `dpkg --configure -a` on the host)"
    return text
