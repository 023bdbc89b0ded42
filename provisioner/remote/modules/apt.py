"""Debian packages. Ansible's `apt`: name, state, update_cache, upgrade, deb, autoremove, purge…

dpkg's database decides whether anything is to be done, and apt is asked only where it does not
suffice. So too the package lists: where `update_cache` comes with packages that are all there,
they are read anew only before the next task that needs them.
"""

from __future__ import annotations

import contextlib
import fnmatch
import os
import re
import shutil
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from typing import Any, NamedTuple

from provisioner.remote import aptcache, aptget, dpkg, files
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ARGUMENTS = {
    "name": Argument("list", aliases=("package", "pkg")),
    "state": Argument(
        "str", default="present", choices=("absent", "build-dep", "fixed", "latest", "present")
    ),
    "update_cache": Argument("bool", aliases=("update-cache",)),
    "update_cache_retries": Argument("int", default=5),
    "update_cache_retry_max_delay": Argument("int", default=12),
    "cache_valid_time": Argument("int", default=0),
    "upgrade": Argument("str", default="no", choices=("dist", "full", "no", "safe", "yes")),
    "deb": Argument("str"),
    "autoremove": Argument("bool", default=False),
    "autoclean": Argument("bool", default=False),
    "clean": Argument("bool", default=False),
    "purge": Argument("bool", default=False),
    "default_release": Argument("str", aliases=("default-release",)),
    "install_recommends": Argument("bool", aliases=("install-recommends",)),
    "only_upgrade": Argument("bool", default=False),
    "fail_on_autoremove": Argument("bool", default=False),
    "force": Argument("bool", default=False),
    "allow_unauthenticated": Argument("bool", default=False, aliases=("allow-unauthenticated",)),
    "allow_downgrade": Argument(
        "bool",
        default=False,
        aliases=("allow-downgrade", "allow_downgrades", "allow-downgrades"),
    ),
    "allow_change_held_packages": Argument("bool", default=False),
    "policy_rc_d": Argument("int"),
    "dpkg_options": Argument("str", default="force-confdef,force-confold"),
    "lock_timeout": Argument("int", default=60),
    # there is neither aptitude nor a library that these could be about
    "force_apt_get": Argument("bool", default=False),
    "auto_install_module_deps": Argument("bool", default=True),
}

FETCH_TIMEOUT = 60
FORCE = ("--allow-downgrades", "--allow-remove-essential", "--allow-change-held-packages")
NOTHING = "\n0 upgraded, 0 newly installed, 0 to remove"

_put_off = False
"""Whether an earlier task of this run put off reading the lists, for it had no need of them."""


class _Spec(NamedTuple):
    """A package as a task names it: `name`, `name=1.*` or `name>=1.0`."""

    text: str
    name: str
    operator: str
    version: str

    @classmethod
    def of(cls, text: str) -> _Spec:
        if text.count("=") > 1:
            raise ModuleFailed(f"invalid package spec: {text}")
        name, operator, version = [*re.split(r"(>?=)", text, maxsplit=1), "", ""][:3]
        return cls(text, name, operator, version)

    def accepts(self, version: str) -> bool:
        if self.operator == "=":
            return fnmatch.fnmatchcase(version, self.version)
        return not self.operator or dpkg.fits(version, "ge", self.version)


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Bring the packages into their state."""
    names = [str(name).strip() for name in arguments["name"] or [] if str(name).strip()]
    upgrade = arguments["upgrade"] != "no"
    _check(arguments, names, upgrade)
    task = _Task(arguments, context)
    if arguments["clean"]:
        if not context.check:
            cleaned = task.apt("clean")
            task.result.update(stdout=cleaned.stdout, stderr=cleaned.stderr)
        task.result["changed"] = True
        if not (names or upgrade or arguments["deb"]):
            return task.result
        task.result["changed"] = False
    if not (names or upgrade or arguments["deb"]) and task.wants_lists:
        task.update()
        task.result["changed"] = task.result["cache_updated"]
    elif upgrade:
        task.upgrade(arguments["upgrade"])
    elif arguments["deb"]:
        task.install_files()
    elif not names:
        task.clean_up()
    elif "*" in names:
        _all_packages(task, names)
    elif arguments["state"] == "absent":
        task.remove(names)
    elif arguments["state"] == "build-dep":
        task.get("build-dep", *names, changed=None)
    else:
        task.install(names)
    return task.result


def _check(arguments: dict[str, Any], names: list[str], upgrade: bool) -> None:
    if not shutil.which("apt-get"):
        raise ModuleFailed("this host has no apt: its packages are not Debian's")
    if sum(map(bool, (arguments["deb"], names, upgrade))) > 1:
        raise ModuleFailed("parameters are mutually exclusive: deb|package|upgrade")
    wanted = ("update_cache", "cache_valid_time", "autoremove", "autoclean", "clean")
    # a list of packages may well be empty, though
    given = arguments["name"] is not None or arguments["update_cache"] is not None
    if not (given or upgrade or arguments["deb"] or any(arguments[name] for name in wanted)):
        raise ModuleFailed(
            "one of the following is required: autoremove, deb, package, update_cache, upgrade"
        )
    if arguments["deb"] and arguments["state"] != "present":
        raise ModuleFailed("deb only supports state=present")


def _all_packages(task: _Task, names: list[str]) -> None:
    if task.arguments["state"] != "latest":
        rest = [name for name in names if name != "*"]
        if rest:
            task.remove(rest) if task.arguments["state"] == "absent" else task.install(rest)
    elif len(names) > 1:
        raise ModuleFailed(
            "unable to install additional packages when upgrading all installed packages"
        )
    else:
        task.upgrade("yes")


class _Task:
    def __init__(self, arguments: dict[str, Any], context: Context) -> None:
        self.arguments = arguments
        self.context = context
        options = [
            word
            for option in arguments["dpkg_options"].split(",")
            for word in ("-o", f"Dpkg::Options::=--{option.strip()}")
        ]
        self.apt = aptget.AptGet(arguments["lock_timeout"], options)
        self.wants_lists = bool(arguments["update_cache"] or arguments["cache_valid_time"])
        self.result: Result = {"changed": False, "cache_updated": False}
        self.result["cache_update_time"] = aptget.updated()

    # -- the package lists

    def update(self) -> None:
        """Read the package lists anew, if that is asked for or was put off, unless they are
        young enough."""
        global _put_off
        if not (self._lists_are_old() or _put_off):
            return
        before = aptget.updated()
        if not self.context.check:
            retries = self.arguments["update_cache_retries"]
            self.apt.update(retries, self.arguments["update_cache_retry_max_delay"])
            _put_off = False
        self.result["cache_update_time"] = aptget.updated()
        if self.wants_lists:
            self.result["cache_updated"] = self.context.check or aptget.updated() != before

    def _lists_are_old(self) -> bool:
        age = time.time() - aptget.updated()
        return self.wants_lists and age > self.arguments["cache_valid_time"]

    def put_off_update(self) -> None:
        """Leave the reading of the lists to the next task that needs them."""
        global _put_off
        if self._lists_are_old() and not self.context.check:
            _put_off = True

    # -- what is to be done

    def install(self, texts: list[str]) -> None:
        """Install or upgrade what is not as it should be."""
        specs = [_Spec.of(text) for text in texts]
        plain = [spec.name for spec in specs if not _is_pattern(spec.name)]
        there = dpkg.status(plain) if plain else {}
        open_ones = [spec for spec in specs if not self._settled(spec, there)]
        if open_ones:
            self.update()
            words = self._versions([match for spec in open_ones for match in _expand(spec)])
            if words:
                self.get("install", *self._install_options(), *words)
        else:
            self.put_off_update()
        if not self.context.check:
            aptget.mark_manual(plain)

    def _settled(self, spec: _Spec, there: dict[str, tuple[str, str]]) -> bool:
        """Whether dpkg alone knows that there is nothing to do."""
        version, status = there.get(spec.name, ("", ""))
        if status != "installed" or self.arguments["state"] == "latest":
            return False
        # Ansible brings name=1.* up to the newest 1.x that there is
        return spec.accepts(version) and not (spec.operator == "=" and _is_pattern(spec.version))

    def _versions(self, specs: list[_Spec]) -> list[str]:
        """Name and version of what apt-get is to install."""
        there = dpkg.status([spec.name for spec in specs])
        known = aptcache.policy([spec.name for spec in specs], self.arguments["default_release"])
        words = []
        for spec in specs:
            version, status = there.get(spec.name, ("", ""))
            installed = version if status == "installed" else ""
            policy = known.get(spec.name) or known.get(spec.name.partition(":")[0])
            if policy and policy.versions:
                if installed or not self.arguments["only_upgrade"]:
                    words += self._version(spec, installed, policy)
            elif spec.name not in dpkg.provided():
                if not aptcache.provided(spec.name):
                    raise ModuleFailed(f"No package matching '{spec.name}' is available")
                words.append(spec.text)
        return words

    def _version(self, spec: _Spec, installed: str, policy: aptcache.Policy) -> list[str]:
        best = policy.candidate
        if spec.operator == "=":
            best = next(filter(spec.accepts, policy.versions), "")
        elif best and not spec.accepts(best):
            best = ""
        fine = bool(installed) and spec.accepts(installed)
        if not fine and not best:
            raise ModuleFailed(f"no available installation candidate for {spec.text}")
        if not best or best == installed:
            return []
        if not fine or self.arguments["state"] == "latest":
            return [f"{spec.name}={best}"]
        return [spec.text] if spec.operator == "=" else []

    def install_files(self) -> None:
        """Install .deb files that are not there in this very version."""
        self.update()
        with contextlib.ExitStack() as stack:
            paths = [
                stack.enter_context(_local(path.strip()))
                for path in self.arguments["deb"].split(",")
            ]
            missing = []
            for path in paths:
                package, version = dpkg.of_file(path)
                if dpkg.status([package]).get(package) != (version, "installed"):
                    missing.append(path)
            if not missing:
                self.result.update(stdout="", stderr="")
                return
            # as Ansible: what a file recommends comes only when it is asked for
            recommends = [] if self.arguments["install_recommends"] else ["--no-install-recommends"]
            self.get("install", *self._install_options(), *recommends, *missing)

    def remove(self, texts: list[str]) -> None:
        """Remove what is there."""
        self.put_off_update()
        specs = [match for text in texts for match in _expand(_Spec.of(text))]
        there = dpkg.status([spec.name for spec in specs])
        unwanted = []
        for spec in specs:
            version, status = there.get(spec.name, ("", ""))
            # a package that is gone may have left its configuration for a purge
            leftover = status == "config-files" and self.arguments["purge"]
            if leftover or (status == "installed" and spec.accepts(version)):
                unwanted.append(spec.text)
        if unwanted:
            options = self._flags(purge="--purge", autoremove="--auto-remove")
            options += self._flags(allow_change_held_packages="--allow-change-held-packages")
            self.get("remove", *options, *unwanted)

    def upgrade(self, mode: str) -> None:
        """Upgrade all packages."""
        self.update()
        whole = mode in ("dist", "full")
        words = ["dist-upgrade"] if whole else ["upgrade", "--with-new-pkgs"]
        words += self._flags(
            autoremove="--auto-remove",
            fail_on_autoremove="--no-remove",
            allow_unauthenticated="--allow-unauthenticated",
            allow_downgrade="--allow-downgrades",
        )
        if self.arguments["default_release"]:
            words += ["-t", self.arguments["default_release"]]
        self.get(*words, changed=None)
        self.result["msg"] = self.result.get("stdout", "")

    def clean_up(self) -> None:
        """Remove what nothing needs any more: old package files, or packages."""
        purge = self._flags(purge="--purge")
        for action, sign in (
            ("autoclean", "Del "),
            ("autoremove", "The following packages will be REMOVED"),
        ):
            if self.arguments[action]:
                foreseen = self.apt.simulate(action, *purge)
                self.result.update(stdout=foreseen.stdout, stderr=foreseen.stderr)
                if sign in foreseen.stdout:
                    self.get(action, *purge)
                return

    # -- apt-get

    def get(self, action: str, *words: str, changed: bool | None = True) -> None:
        """Let apt-get do it, in check mode foresee it; `changed` None: see by what it says."""
        if self.arguments["force"]:
            words = (*FORCE, *words)
        if self.context.check:
            outcome = self.apt.simulate(action, *words)
        else:
            with aptget.policy_rc_d(self.arguments["policy_rc_d"]):
                outcome = self.apt(action, *words)
        self.result.update(stdout=outcome.stdout, stderr=outcome.stderr)
        self.result["changed"] = NOTHING not in outcome.stdout if changed is None else changed
        if self.context.diff and self.result["changed"]:
            text = aptget.summary(outcome.stdout)
            self.result["diff"] = {"before": "", "after": text, "path": "packages"}

    def _flags(self, **words: str) -> list[str]:
        return [word for name, word in words.items() if self.arguments[name]]

    def _install_options(self) -> list[str]:
        options = self._flags(
            only_upgrade="--only-upgrade",
            autoremove="--auto-remove",
            fail_on_autoremove="--no-remove",
            allow_unauthenticated="--allow-unauthenticated",
            allow_downgrade="--allow-downgrades",
            allow_change_held_packages="--allow-change-held-packages",
        )
        if self.arguments["state"] == "fixed":
            options.append("--fix-broken")
        if self.arguments["default_release"]:
            options += ["-t", self.arguments["default_release"]]
        if self.arguments["install_recommends"] is not None:
            wanted = "yes" if self.arguments["install_recommends"] else "no"
            options += ["-o", f"APT::Install-Recommends={wanted}"]
        return options


def _is_pattern(name: str) -> bool:
    return any(letter in name for letter in "*?[]!")


def _expand(spec: _Spec) -> list[_Spec]:
    """The packages that a name with wildcards stands for; only native ones, as Ansible has it."""
    if not _is_pattern(spec.name):
        return [spec]
    found = fnmatch.filter(aptcache.names(), spec.name)
    if not found:
        raise ModuleFailed(f"No package(s) matching '{spec.name}' available")
    return [_Spec(name, name, "", "") for name in found]


@contextlib.contextmanager
def _local(place: str) -> Iterator[str]:
    """The path of a .deb file, fetched when it is given by its URL."""
    if "://" not in place:
        path = os.path.abspath(files.expand(place))
        if not os.path.exists(path):
            raise ModuleFailed(f"deb file {path} not found")
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="b9prov-") as folder:
        # apt's own user has to get at it
        os.chmod(folder, 0o755)  # noqa: S103 — holds a public package
        path = os.path.join(folder, "package.deb")
        try:
            request = urllib.request.urlopen(place, timeout=FETCH_TIMEOUT)
            with request as answer, open(path, "wb") as file:
                shutil.copyfileobj(answer, file)
        except OSError as error:
            raise ModuleFailed(f"Failure downloading {place}, {error}") from None
        yield path
