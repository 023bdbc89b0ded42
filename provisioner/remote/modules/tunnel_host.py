"""Looks whether a gateway host is ready for tunnels, and says by which commands it would be.

Not of Ansible. Arguments: `user, shell, packages, directories, keys, files, drop_in, units,
sshd_unit, port`, where packages are by their programs, directories have `path, mode` and files
`path, mode, content`. Returns `refusals` (what only the host's administrator can decide),
`missing`, the `commands` for both, whether sshd's configuration has the drop-in `included`, and
whether it is `unread` since it was written.
"""

from __future__ import annotations

import fnmatch
import grp
import os
import pwd
import re
import shlex
import shutil
import stat
import time
from pathlib import Path
from typing import Any

from provisioner.remote import process, sockets
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, Result

ARGUMENTS = {
    "user": Argument("str", default="b9tunnel"),
    "shell": Argument("str", required=True),
    "packages": Argument("dict", default={}),
    "directories": Argument("list", default=()),
    "keys": Argument("str", required=True),
    "files": Argument("list", default=()),
    "drop_in": Argument("dict", required=True),
    "units": Argument("list", default=()),
    "sshd_unit": Argument("str", default="ssh"),
    "port": Argument("int", default=6443),
    "sshd_config": Argument("str", default="/etc/ssh/sshd_config"),
}
TIMEOUT = 30.0
ALL = ("0.0.0.0", "::")  # noqa: S104 (recognised, not listened on)
PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
Settings = dict[str, list[str]]


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Only looks."""
    look = Look(arguments)
    look.at_packages()
    look.at_user()
    look.at_directories()
    look.at_files()
    look.at_sshd()
    look.at_port()
    look.at_units()
    return {
        "changed": False,
        "refusals": look.refusals,
        "missing": look.missing,
        "included": look.included,
        "unread": look.unread,
        "commands": "".join(f"{command}\n" for command in dict.fromkeys(look.commands)),
    }


class Look:
    """One pass; what is wrong is collected, with the commands that mend it in a fit order."""

    def __init__(self, arguments: dict[str, Any]) -> None:
        self.arguments = arguments
        self.user: str = arguments["user"]
        self.refusals: list[str] = []
        self.missing: list[str] = []
        self.commands: list[str] = []
        self.included = True
        self.unread = False
        self._is_sshd_missing = False
        self._new_units: list[str] = []

    def at_packages(self) -> None:
        for program, package in self.arguments["packages"].items():
            if not shutil.which(program, path=PATH):
                self._miss(f"there is no {program}", f"apt-get install -y {shlex.quote(package)}")

    def at_user(self) -> None:
        shell = self.arguments["shell"]
        quoted = f"--shell {shlex.quote(shell)}"
        try:
            found = pwd.getpwnam(self.user).pw_shell
        except KeyError:
            self._miss(
                f"there is no user {self.user}",
                "useradd --system --user-group --no-create-home --home-dir /nonexistent"
                f" --password '*' {quoted} {self.user}",
            )
            return
        if found != shell:
            wrong = f"the shell of {self.user} is {found}, not {shell}"
            self._miss(wrong, f"usermod {quoted} {self.user}")

    def at_directories(self) -> None:
        for each in self.arguments["directories"]:
            path, mode = each["path"], each["mode"]
            if wrong := _wrong(path, mode, stat.S_ISDIR):
                self._miss(wrong, f"install -d -o root -g root -m {mode} {shlex.quote(path)}")
        keys = shlex.quote(self.arguments["keys"])
        if wrong := _wrong(self.arguments["keys"], "0644", stat.S_ISREG):
            self._miss(wrong, f"touch {keys}; chown root:root {keys}; chmod 0644 {keys}")

    def at_files(self) -> None:
        for each in self.arguments["files"]:
            wrong = _wrong(each["path"], each["mode"], stat.S_ISREG)
            if not wrong and Path(each["path"]).read_text(errors="replace") != each["content"]:
                wrong = f"{each['path']} is not as b9prov writes it"
            if wrong:
                self._miss(wrong, _install(each))
                self._new_units += [each["path"]] * each["path"].startswith("/etc/systemd/")

    def at_units(self) -> None:
        if self._new_units:
            self.commands.append("systemctl daemon-reload")
        for unit in self.arguments["units"]:
            wrong = False
            for question, state in (("is-enabled", "enabled"), ("is-active", "active")):
                said = process.run(["systemctl", question, unit], timeout=TIMEOUT)
                if said.stdout.strip() != state:
                    wrong = True
                    self.missing.append(f"unit {unit} is not {state}")
            if wrong:
                self.commands.append(f"systemctl enable --now {shlex.quote(unit)}")

    def at_sshd(self) -> None:
        drop_in, config = self.arguments["drop_in"], self.arguments["sshd_config"]
        self.included = includes(Path(config), drop_in["path"])
        tested = process.run(["/usr/sbin/sshd", "-t", "-f", config], timeout=TIMEOUT)
        if tested.rc:
            said = tested.said
            self._refuse(f"sshd's configuration is broken: {said}", "mend it; `sshd -t` tells")
            return
        self._at_drop_in(Path(drop_in["path"]))
        effective = self._effective()
        differing = [
            f"{name} {shown}, not {value}"
            for name, value in wanted(drop_in["content"]).items()
            if (shown := " ".join(effective.get(name, ["nothing"]))) != value
        ]
        if differing and not self._is_sshd_missing:
            mend = f"something before {drop_in['path']} sets it"
            self._refuse(f"sshd has for {self.user} {', '.join(differing)}", mend)
        for reason in kept_out(self.user, groups_of(self.user), effective):
            mend = "change that in sshd_config, then `sshd -t` and reload sshd"
            self._refuse(f"sshd keeps {self.user} out: {reason}", mend)

    def at_port(self) -> None:
        """Whoever listens at all addresses has those of the workers too, as a k3s here would."""
        port = self.arguments["port"]
        taken = {s.inode for s in sockets.listeners() if s.port == port and s.address in ALL}
        if taken:
            found = set(map(str, sockets.owners(taken).values())) or {"somebody"}
            what = f"{', '.join(sorted(found))} listens at port {port} of all addresses"
            mend = (
                "workers' tunnels need it at theirs: have it listen at one address of this host,"
                " a k3s by bind-address in /etc/rancher/k3s/config.yaml"
            )
            self._refuse(what, mend)

    def _at_drop_in(self, path: Path) -> None:
        before, drop_in = len(self.missing), self.arguments["drop_in"]
        config = self.arguments["sshd_config"]
        if not self.included:
            line = shlex.quote(f"1i Include {path}")
            self._miss(f"{config} does not include {path}", f"sed -i {line} {shlex.quote(config)}")
        if not path.exists():
            self._miss(f"there is no {path}", _install(drop_in))
        elif path.read_text(errors="replace") != drop_in["content"]:
            self._miss(f"{path} is not as b9prov writes it", _install(drop_in))
        elif self._is_unread(path):
            self.unread = True
            self.missing.append(f"sshd has not read {path} since it was written")
        self._is_sshd_missing = len(self.missing) > before
        if self._is_sshd_missing:
            reload = f"systemctl reload {self.arguments['sshd_unit']}"
            self.commands.append(f"/usr/sbin/sshd -t && {reload}")

    def _is_unread(self, drop_in: Path) -> bool:
        name = "StateChangeTimestampMonotonic"  # a reload is a change
        command = ["systemctl", "show", "-P", name, self.arguments["sshd_unit"]]
        said = process.run(command, timeout=TIMEOUT).stdout.strip()
        now = time.time()
        if not said.isdigit() or said == "0":
            return False  # somebody else starts sshd here
        read = now - time.monotonic() + int(said) / 1e6
        return read < drop_in.stat().st_mtime < now

    def _effective(self) -> Settings:
        who = f"user={self.user},host=worker,addr=192.0.2.1"
        command = ["/usr/sbin/sshd", "-T", "-f", self.arguments["sshd_config"], "-C", who]
        settings: Settings = {}
        for line in process.run(command, timeout=TIMEOUT).stdout.splitlines():
            name, _, value = line.partition(" ")
            settings.setdefault(name.lower(), []).append(value)
        return settings

    def _miss(self, what: str, command: str) -> None:
        self.missing.append(what)
        self.commands.append(command)

    def _refuse(self, what: str, mend: str) -> None:
        self.refusals.append(f"{what} ({mend})")
        self.commands.append(f"# {' '.join(what.split())}: {mend}")


def wanted(drop_in: str) -> dict[str, str]:
    """What the drop-in sets for the tunnel user, in the words of `sshd -T`."""
    settings = {}
    for line in drop_in.splitlines():
        name, _, value = line.strip().partition(" ")
        if name and not name.startswith("#") and name != "Match":
            settings[name.lower()] = value
    return settings


def includes(config: Path, path: str) -> bool:
    """Whether sshd's configuration reads the file, for every user."""
    lines = config.read_text(errors="replace").splitlines() if config.exists() else []
    for_all = True
    for line in lines:
        words = line.split()
        keyword = words[0].lower() if words else ""
        if keyword == "match":
            for_all = words[1:2] == ["all"]
        if keyword == "include" and for_all:
            patterns = (str(config.parent / word.strip('"')) for word in words[1:])
            if any(fnmatch.fnmatch(path, pattern) for pattern in patterns):
                return True
    return False


def kept_out(user: str, groups: list[str], effective: Settings) -> list[str]:
    """Why sshd would not let the user in, as far as it does not depend on where from."""

    def words(name: str) -> list[str]:
        return [word for value in effective.get(name, []) for word in value.split()]

    reasons = []
    allowed, denied = words("allowusers"), words("denyusers")
    if allowed and not _matches(user, [each.partition("@")[0] for each in allowed]):
        reasons.append(f"AllowUsers is {' '.join(allowed)}")
    from_anywhere = [each.removesuffix("@*") for each in denied]
    if _matches(user, [each for each in from_anywhere if "@" not in each]):
        reasons.append(f"DenyUsers is {' '.join(denied)}")
    allowed, denied = words("allowgroups"), words("denygroups")
    if allowed and not any(_matches(group, allowed) for group in groups):
        reasons.append(f"AllowGroups is {' '.join(allowed)}")
    if any(_matches(group, denied) for group in groups):
        reasons.append(f"DenyGroups is {' '.join(denied)}")
    return reasons


def groups_of(user: str) -> list[str]:
    """The user's groups; of a user who is still to be made, the one that is made with it."""
    try:
        found = pwd.getpwnam(user)
    except KeyError:
        return [user]
    names = []
    for number in os.getgrouplist(user, found.pw_gid):
        try:
            names.append(grp.getgrgid(number).gr_name)
        except KeyError:
            continue
    return names


def _matches(name: str, patterns: list[str]) -> bool:
    """As sshd matches a list: `!pattern` excludes."""
    if any(p.startswith("!") and fnmatch.fnmatchcase(name, p[1:]) for p in patterns):
        return False
    return any(fnmatch.fnmatchcase(name, p) for p in patterns)


def _wrong(path: str, mode: str, kind: Any) -> str:
    try:
        about = os.stat(path)
    except OSError:
        return f"there is no {path}"
    if not kind(about.st_mode):
        return f"{path} is of the wrong kind"
    if (about.st_uid, about.st_gid) != (0, 0):
        return f"{path} is not root's"
    found = f"{stat.S_IMODE(about.st_mode):04o}"
    return "" if found == mode else f"{path} has mode {found}, not {mode}"


def _install(file: dict[str, Any]) -> str:
    path = shlex.quote(file["path"])
    end = "END"
    while re.search(rf"^{end}$", file["content"], re.M):
        end += "_"
    return f"install -m {file['mode']} /dev/stdin {path} <<'{end}'\n{file['content']}{end}"
