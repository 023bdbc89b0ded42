"""Files as task modules need them: atomic writes, modes, owners, hashes and diffs."""

from __future__ import annotations

import contextlib
import grp
import hashlib
import os
import pwd
import re
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from provisioner.remote import process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result

ATTRIBUTES = {"mode": Argument("mode"), "owner": Argument(), "group": Argument()}
"""The arguments of every module that makes a file."""

DIFF_LIMIT = 100_000
VALIDATE_TIMEOUT = 120

_CLAUSE = re.compile(r"(?P<who>[ugoa]*)(?P<what>(?:[-+=](?:[rwxXst]*|[ugo]))+)")
_OPERATION = re.compile(r"([-+=])([rwxXst]*|[ugo])(?=[-+=]|$)")
_SHIFT = {"u": 6, "g": 3, "o": 0}
_SPECIAL = {"u": stat.S_ISUID, "g": stat.S_ISGID, "o": stat.S_ISVTX}


def expand(path: str) -> str:
    """A path argument with ~ and $VARIABLES replaced, as Ansible does."""
    return os.path.expanduser(os.path.expandvars(path))


def octal(mode: int) -> str:
    """The permission bits of `mode` as "0644"."""
    return f"{stat.S_IMODE(mode):04o}"


def umask() -> int:
    """The umask of this process (which can only be read by setting it)."""
    current = os.umask(0)
    os.umask(current)
    return current


def parse_mode(text: str, current: int = 0, directory: bool = False) -> int:
    """Permission bits of "0644" or "u=rwX,g+r,o-w", the latter applied to `current`."""
    if re.fullmatch(r"0?o?[0-7]{1,5}", text):
        return int(text.replace("o", ""), 8) & 0o7777
    mode = stat.S_IMODE(current)
    for clause in text.split(","):
        match = _CLAUSE.fullmatch(clause)
        if not match:
            raise ModuleFailed(
                f"bad file mode {text!r}: use an octal such as '0644' or 'u=rw,go=r'"
            )
        limit = 0o7777 if match["who"] else ~umask()
        who = match["who"].replace("a", "ugo") or "ugo"
        executable = directory or bool(stat.S_IMODE(current) & 0o111)
        for operator, letters in _OPERATION.findall(match["what"]):
            before = mode
            for user in dict.fromkeys(who):
                bits = _bits(user, letters, before, executable) & limit
                if operator == "=":
                    mode = mode & ~((0o7 << _SHIFT[user]) | _SPECIAL[user]) | bits
                else:
                    mode = mode | bits if operator == "+" else mode & ~bits
    return mode


def _bits(user: str, letters: str, mode: int, executable: bool) -> int:
    if letters in ("u", "g", "o"):
        return (mode >> _SHIFT[letters] & 0o7) << _SHIFT[user]
    bits = 0
    for letter in letters:
        if letter in "rwx":
            bits |= {"r": 4, "w": 2, "x": 1}[letter] << _SHIFT[user]
        elif letter == "X":
            bits |= (1 if executable else 0) << _SHIFT[user]
        elif (letter == "s" and user in "ug") or (letter == "t" and user == "o"):
            bits |= _SPECIAL[user]
    return bits


def uid_of(owner: str) -> int:
    """The number of a user given by name or number."""
    if owner.isdigit():
        return int(owner)
    try:
        return pwd.getpwnam(owner).pw_uid
    except KeyError:
        raise ModuleFailed(f"chown failed: failed to look up user {owner}") from None


def gid_of(group: str) -> int:
    """The number of a group given by name or number."""
    if group.isdigit():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise ModuleFailed(f"chgrp failed: failed to look up group {group}") from None


def digest(path: str | Path, algorithm: str = "sha256") -> str:
    """Hex digest of a file's content."""
    state = hashlib.new(algorithm)
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            state.update(block)
    return state.hexdigest()


def kind(path: str | Path) -> str:
    """Ansible's `state` of a path: absent, link, directory, hard or file."""
    try:
        found = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return "absent"
    if stat.S_ISLNK(found.st_mode):
        return "link"
    if stat.S_ISDIR(found.st_mode):
        return "directory"
    return "hard" if found.st_nlink > 1 else "file"


def describe(path: str | Path) -> Result:
    """What Ansible's results say of a path: state, mode, owner, group, uid, gid, size."""
    state = kind(path)
    if state == "absent":
        return {"state": state}
    found = os.lstat(path)
    result: Result = {"state": state, "mode": octal(found.st_mode), "size": found.st_size}
    result.update(uid=found.st_uid, gid=found.st_gid)
    with contextlib.suppress(KeyError):
        result["owner"] = pwd.getpwuid(found.st_uid).pw_name
    with contextlib.suppress(KeyError):
        result["group"] = grp.getgrgid(found.st_gid).gr_name
    return result


def set_attributes(
    path: str | Path, arguments: dict[str, Any], check: bool, follow: bool = True
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give an existing path the mode, owner and group of `arguments` where they differ.

    Returns what differed, before and after; both are empty when nothing had to change.
    In check mode a user or group that does not exist yet counts as a change: an earlier
    task may be the one that would make it.
    """
    before: dict[str, Any] = {}
    after: dict[str, Any] = {}
    found = os.stat(path) if follow else os.lstat(path)
    ids = {"uid": -1, "gid": -1}
    for name, field, look_up, had in (
        ("owner", "uid", uid_of, found.st_uid),
        ("group", "gid", gid_of, found.st_gid),
    ):
        wanted = arguments.get(name)
        if wanted is None:
            continue
        try:
            number = look_up(wanted)
        except ModuleFailed:
            if not check:
                raise
            before[name], after[name] = had, wanted
            continue
        if number != had:
            before[name], after[name] = had, number
            ids[field] = number
    if after and not check:
        _attempt("chown", path, lambda: os.chown(path, *ids.values(), follow_symlinks=follow))
    if arguments.get("mode") and not stat.S_ISLNK(found.st_mode):
        mode = parse_mode(arguments["mode"], found.st_mode, stat.S_ISDIR(found.st_mode))
        # a chown may have cleared set-user-ID bits that the mode asks for
        if mode != stat.S_IMODE(found.st_mode) or (ids != {"uid": -1, "gid": -1} and mode & 0o6000):
            if mode != stat.S_IMODE(found.st_mode):
                before["mode"], after["mode"] = octal(found.st_mode), octal(mode)
            if not check:
                _attempt("chmod", path, lambda: os.chmod(path, mode))
    return before, after


def _attempt(what: str, path: str | Path, action: Any) -> None:
    try:
        action()
    except OSError as error:
        raise ModuleFailed(f"{what} of {path} failed: {error.strerror}", path=str(path)) from None


@contextlib.contextmanager
def replacing(
    path: str | Path, arguments: dict[str, Any] | None = None, validate: str | None = None
) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place, at once and complete, at the end.

    Mode, owner and group are those of `arguments`, else those of the file replaced, else the
    defaults of a new file; they hold before the content can be seen under its name. With
    `validate` the command, given the temporary path for its %s, has the last word.
    """
    path = Path(path)
    arguments = arguments or {}
    try:
        descriptor, name = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    except OSError as error:
        raise ModuleFailed(f"cannot write in {path.parent}: {error.strerror}") from None
    os.close(descriptor)
    temporary = Path(name)
    try:
        yield temporary
        with open(temporary, "rb") as file:
            os.fsync(file.fileno())
        _inherit(temporary, path, str(arguments.get("mode") or ""))
        set_attributes(temporary, arguments, check=False)
        if validate:
            run_validation(validate, temporary)
        os.replace(temporary, path)
    except OSError as error:
        raise ModuleFailed(f"cannot write {path}: {error.strerror}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            temporary.unlink()


def _inherit(temporary: Path, path: Path, wanted: str) -> None:
    """Owner and mode of what is replaced; a mode in digits comes next, and until then the
    content, which may be secret, stays private."""
    keep_private = wanted.isdigit()
    try:
        old = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        if not keep_private:
            os.chmod(temporary, 0o666 & ~umask())
        return
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        with contextlib.suppress(PermissionError):  # as Ansible: whoever may write may replace
            os.chown(temporary, old.st_uid, old.st_gid)
    if not keep_private:
        os.chmod(temporary, stat.S_IMODE(old.st_mode))


def write(
    path: str | Path,
    data: bytes,
    arguments: dict[str, Any] | None = None,
    validate: str | None = None,
) -> None:
    """Replace the content of `path` atomically; see `replacing`."""
    with replacing(path, arguments, validate) as temporary:
        temporary.write_bytes(data)


def run_validation(command: str, path: Path) -> None:
    """Let `command` (with %s for the path) judge a file. Raises ModuleFailed."""
    if "%s" not in command:
        raise ModuleFailed(f"validate must contain %s: {command}")
    argv = [word.replace("%s", str(path)) for word in shlex.split(command)]
    outcome = process.run(argv, timeout=VALIDATE_TIMEOUT)
    if outcome.rc != 0:
        raise ModuleFailed(
            f"failed to validate: {outcome.said}",
            exit_status=outcome.rc,
            stdout=outcome.stdout,
            stderr=outcome.stderr,
        )


def backup(path: str | Path) -> str:
    """Copy a file beside itself under Ansible's backup name, which is returned."""
    name = f"{path}.{os.getpid()}.{time.strftime('%Y-%m-%d@%H:%M:%S~')}"
    shutil.copy2(path, name)
    found = os.stat(path)
    with contextlib.suppress(PermissionError):
        os.chown(name, found.st_uid, found.st_gid)
    return name


def as_text(data: bytes) -> str:
    """Content as it is shown in a diff."""
    if len(data) > DIFF_LIMIT:
        return f"({len(data)} bytes, too large to show)\n"
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return f"({len(data)} bytes, binary, sha256 {hashlib.sha256(data).hexdigest()})\n"


def peek(path: str | Path) -> bytes:
    """A file's content as far as a diff has use for it; empty when there is no file."""
    try:
        with open(path, "rb") as file:
            return file.read(DIFF_LIMIT + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return b""


def add_diff(
    result: Result,
    context: Context,
    path: str | Path,
    content: tuple[bytes, bytes] | None = None,
    attributes: tuple[dict[str, Any], dict[str, Any]] = ({}, {}),
) -> None:
    """Put the diff of contents and attributes into `result` when the run wants one."""
    if not context.diff:
        return
    texts = ["", ""]
    for index in (0, 1):
        texts[index] = "".join(f"{name}: {value}\n" for name, value in attributes[index].items())
        if content:
            texts[index] += as_text(content[index])
    result["diff"] = {"before": texts[0], "after": texts[1], "path": str(path)}
