"""The state of a host, as far as playbooks change it: what was changed since it was new.

A state is a mapping of what (`file /etc/fstab`, `package cron`, `unit x.service`, `mount /mnt`)
to how it is. Files are those in the upper layer of the host's root, so that nothing is missed.
"""

from __future__ import annotations

import difflib
import fnmatch
import hashlib
import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.hosts import Inside

State = dict[str, str]

# What differs between any two runs, or is told by something else in the state.
_IGNORED_PATHS = """
    /etc/.pwd.lock /etc/*- /etc/ld.so.cache /etc/machine-id /etc/ssh/ssh_host_* /etc/*.lock
    /etc/systemd/network/10-lab.network
    /home/admin/.ansible /home/admin/.sudo_as_admin_successful
    /root/.ansible /root/.cache
    /srv/debs
    /var/cache /var/backups /var/log /var/lib/apt /var/lib/dpkg /var/lib/systemd /var/lib/private
    /var/lib/dbus /var/tmp/systemd-private-* /var/lib/sudo
    */__pycache__
"""
_IGNORED = re.compile("|".join(map(fnmatch.translate, _IGNORED_PATHS.split())))
_TEXT_LIMIT = 65536
_UNITS = [
    # Without --all: whether a unit that is not active is loaded is a matter of chance.
    *("systemctl", "list-units", "--plain", "--no-legend", "--full"),
    "--type=service,socket,timer,mount,path,target",
]
_NOT_OURS = re.compile(r"(user@|user-runtime-dir@|session-|run-|systemd-)")
# crontab(1) notes in each file when and from where it came.
_CRONTAB = re.compile(r"^# \(.* installed on .*\)$", re.MULTILINE)
_BACKUP = re.compile(r"\.\d+\.\d{4}-\d\d-\d\d@\d\d:\d\d:\d\d~")


class Observer:
    """Looks at one host again and again; files that stay as they are are read once."""

    def __init__(self, inside: Inside) -> None:
        self.inside, self.host = inside, inside.host
        self._installed: tuple[int, State] = (0, {})
        self._contents: dict[tuple[str, int, int, int], str] = {}

    def state(self, probes: Sequence[str] = ()) -> State:
        """How the host is now."""
        return {
            **self._files(),
            **self._packages(),
            **self._units(),
            **self._mounts(),
            **self._probed(probes),
        }

    def delta(self, before: State, after: State) -> State:
        """What became of what was there, and what is new; of texts, only the lines that changed."""
        changed = {}
        for what in sorted(before.keys() | after.keys()):
            old, new = before.get(what) or self._original(what), after.get(what)
            if old == new:
                continue
            texts = old is not None and new is not None and "\n" in old and "\n" in new
            changed[what] = _changed_lines(old or "", new or "") if texts else new or "gone"
        return changed

    def _original(self, what: str) -> str | None:
        """A file as it is in the lower layer, if it is there."""
        kind, _, inside = what.partition(" ")
        path = self.host.rootfs / inside.lstrip("/")
        if kind != "file" or not os.path.lexists(path):
            return None
        status = path.lstat()
        return describe(path, status, Owners(self.host.rootfs).of(status), self._contents)

    def _files(self) -> State:
        upper = self.host.directory / "upper"
        owners = Owners(self.host.root)
        return {
            f"file {_BACKUP.sub('.BACKUP~', inside)}": self._described(inside, owners)
            for inside in _paths(upper, "/")
        }

    def _described(self, inside: str, owners: Owners) -> str:
        path = self.host.path(inside)
        try:
            status = path.lstat()
        except FileNotFoundError:
            return "absent"
        return describe(path, status, owners.of(status), self._contents)

    def _packages(self) -> State:
        file = self.host.path("/var/lib/dpkg/status")
        changed = file.stat().st_mtime_ns
        if self._installed[0] != changed:
            self._installed = (changed, _packages(file.read_text()))
        return self._installed[1]

    def _units(self) -> State:
        lines = [line.split(None, 4) for line in self.inside.output(_UNITS).splitlines()]
        return {
            f"unit {name}": f"{loaded} {active} {detail}"
            for name, loaded, active, detail, *_ in lines
            if not _NOT_OURS.match(name)
        }

    def _mounts(self) -> State:
        text = Path(f"/proc/{self.inside.leader}/mounts").read_text()
        mounts = [line.split() for line in text.splitlines()]
        return {
            f"mount {where}": f"{what} {kind} {options}"
            for what, where, kind, options, *_ in mounts
            # The overlay's options hold paths of this machine; below /run systemd comes and goes.
            if kind != "overlay" and not where.startswith("/run/")
        }

    def _probed(self, probes: Sequence[str]) -> State:
        return {f"probe {probe}": self.inside.output(["sh", "-c", probe]) for probe in probes}


class Owners:
    """Names of users and groups of one root, as they are now."""

    def __init__(self, root: Path) -> None:
        self.users = _ids(root / "etc/passwd")
        self.groups = _ids(root / "etc/group")

    def of(self, status: os.stat_result) -> str:
        """user:group of a file; numbers that have no name stay numbers."""
        user = self.users.get(status.st_uid, str(status.st_uid))
        return f"{user}:{self.groups.get(status.st_gid, str(status.st_gid))}"


def folder_state(folder: Path) -> State:
    """The files of a folder of this machine, by their path in it."""
    return {
        f"controller file {path.relative_to(folder)}": describe(path, path.lstat(), "", {})
        for path in sorted(folder.rglob("*"))
        if not path.is_dir()
    }


def describe(
    path: Path, status: os.stat_result, owner: str, known: dict[tuple[str, int, int, int], str]
) -> str:
    """Kind, mode, owner and content of a file."""
    if stat.S_ISLNK(status.st_mode):
        return f"link {owner} -> {path.readlink()}"
    kind = f"{stat.filemode(status.st_mode)} {owner}".rstrip()
    if not stat.S_ISREG(status.st_mode):
        return kind
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_ctime_ns)
    if key not in known:
        known[key] = _content(path)
    return f"{kind}\n{known[key]}"


def _changed_lines(old: str, new: str) -> str:
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
    return "\n".join(line for line in list(lines)[2:] if not line.startswith("@@"))


def _packages(text: str) -> State:
    """dpkg's status file: each package's state and version."""
    packages = {}
    for block in text.split("\n\n"):
        lines = block.splitlines()
        fields = dict(line.split(": ", 1) for line in lines if re.match(r"\w+: ", line))
        if fields:
            said = f"{fields['Status']}, {fields.get('Version')}"
            packages[f"package {fields['Package']}"] = said
    return packages


def _paths(upper: Path, inside: str) -> Iterator[str]:
    with os.scandir(upper) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            path = f"{inside}{entry.name}"
            if _IGNORED.fullmatch(path):
                continue
            yield path
            if entry.is_dir(follow_symlinks=False):
                yield from _paths(upper / entry.name, f"{path}/")


def _content(path: Path) -> str:
    data = path.read_bytes()
    try:
        text = data.decode() if len(data) <= _TEXT_LIMIT and b"\0" not in data else None
    except UnicodeDecodeError:
        text = None
    return (
        f"sha256:{hashlib.sha256(data).hexdigest()}"
        if text is None
        else _CRONTAB.sub("# (installed)", text)
    )


def _ids(file: Path) -> dict[int, str]:
    lines = [line.split(":") for line in file.read_text().splitlines()]
    return {int(fields[2]): fields[0] for fields in lines if len(fields) > 2 and fields[2]}
