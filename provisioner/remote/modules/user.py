"""An account of this host. Ansible's `user`: name, uid, groups, home, password, expires…"""

from __future__ import annotations

import grp
import os
import pwd
import re
import shutil
import socket
import tempfile
import time
from pathlib import Path
from typing import Any

from provisioner.remote import files, process
from provisioner.remote.arguments import Argument
from provisioner.remote.module import Context, ModuleFailed, Result
from provisioner.remote.modules import group as groups_of_host

ARGUMENTS = {
    "name": Argument("str", required=True, aliases=("user",)),
    "state": Argument("str", default="present", choices=("present", "absent")),
    "uid": Argument("int"),
    "non_unique": Argument("bool", default=False),
    "group": Argument("str"),
    "groups": Argument("list"),
    "append": Argument("bool", default=False),
    "comment": Argument("str"),
    "home": Argument("str"),
    "create_home": Argument("bool", default=True, aliases=("createhome",)),
    "move_home": Argument("bool", default=False),
    "skeleton": Argument("str"),
    "shell": Argument("str"),
    "system": Argument("bool", default=False),
    "password": Argument("str", secret=True),
    "update_password": Argument("str", default="always", choices=("always", "on_create")),
    "password_lock": Argument("bool"),
    "password_expire_min": Argument("int"),
    "password_expire_max": Argument("int"),
    "password_expire_warn": Argument("int"),
    "expires": Argument("float"),
    "umask": Argument("str"),
    "uid_min": Argument("int"),
    "uid_max": Argument("int"),
    "generate_ssh_key": Argument("bool"),
    "ssh_key_bits": Argument("int", default=0),
    "ssh_key_type": Argument("str", default="rsa"),
    "ssh_key_file": Argument("str"),
    "ssh_key_comment": Argument("str"),
    "ssh_key_passphrase": Argument("str", secret=True),
    "force": Argument("bool", default=False),
    "remove": Argument("bool", default=False),
}
TIMEOUT = 300
LOGIN_DEFS = Path("/etc/login.defs")
EXPIRES = 7
"""The field of /etc/shadow."""

# Of an age of the password: its field in /etc/shadow and chage's option.
AGES = {
    "password_expire_min": (3, "--mindays"),
    "password_expire_max": (4, "--maxdays"),
    "password_expire_warn": (5, "--warndays"),
}


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make, change or remove the account."""
    name = arguments["name"]
    for path in ("home", "shell", "ssh_key_file"):
        if arguments[path] is not None:
            arguments[path] = files.expand(arguments[path])
    result: Result = {"changed": False, "name": name, "state": arguments["state"]}
    existing = _find(name)
    if arguments["state"] == "absent":
        if existing:
            result["changed"] = True
            result.update(force=arguments["force"], remove=arguments["remove"])
            _execute(_removal(arguments), context)
        return result
    if existing is None:
        result["changed"] = True
        result.update(system=arguments["system"], create_home=arguments["create_home"])
        _create(arguments, context)
    else:
        options = _modification(arguments, existing, context)
        if options:
            result["changed"] = True
            _execute(["usermod", *options, name], context)
        result["changed"] |= _set_password(arguments, context)
        result.update(append=arguments["append"], move_home=arguments["move_home"])
    account = _find(name)
    if account:
        result["changed"] |= _see_to_home(account, arguments, context)
        result.update(uid=account.pw_uid, group=account.pw_gid, comment=account.pw_gecos)
        result.update(home=account.pw_dir, shell=account.pw_shell)
        if arguments["groups"] is not None:
            result["groups"] = ",".join(_groups(arguments))
        if arguments["generate_ssh_key"]:
            _see_to_key(account, arguments, result, context)
        result["changed"] |= _set_ages(arguments, context)
    if arguments["password"] is not None:
        result["password"] = "NOT_LOGGING_PASSWORD"  # noqa: S105 — hides one
    return result


def _find(name: str) -> pwd.struct_passwd | None:
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def _execute(argv: list[str], context: Context, stdin: bytes | None = None) -> None:
    if context.check:
        return
    outcome = process.run(argv, timeout=TIMEOUT, stdin=stdin)
    if outcome.rc != 0:
        said = outcome.said or f"{argv[0]} exited with {outcome.rc}"
        raise ModuleFailed(said, rc=outcome.rc, stdout=outcome.stdout, stderr=outcome.stderr)


def _removal(arguments: dict[str, Any]) -> list[str]:
    options = [f"--{option}" for option in ("force", "remove") if arguments[option]]
    return ["userdel", *options, arguments["name"]]


def _groups(arguments: dict[str, Any]) -> list[str]:
    return [str(name) for name in arguments["groups"] or [] if str(name)]


def _require_groups(arguments: dict[str, Any], context: Context) -> None:
    wanted = _groups(arguments) + ([arguments["group"]] if arguments["group"] else [])
    for name in wanted:
        # in check mode an earlier task may be the one that would make the group
        if not groups_of_host.find(name) and not context.check:
            raise ModuleFailed(f"Group {name} does not exist")


def _create(arguments: dict[str, Any], context: Context) -> None:
    _require_groups(arguments, context)
    argv = ["useradd"]
    for name, option in (
        ("uid", "--uid"),
        ("comment", "--comment"),
        ("home", "--home-dir"),
        ("shell", "--shell"),
        ("group", "--gid"),
    ):
        if arguments[name] is not None:
            argv += [option, str(arguments[name])]
    if arguments["non_unique"]:
        argv.append("--non-unique")
    if arguments["group"] is None and groups_of_host.find(arguments["name"]):
        argv.append("--no-user-group")  # useradd would want to make a group of this name
    if arguments["expires"] is not None:
        argv += ["--expiredate", _date(arguments["expires"])]
    for limit in ("uid_min", "uid_max"):
        if arguments[limit] is not None:
            argv += ["-K", f"{limit.upper()}={arguments[limit]}"]
    if _groups(arguments):
        argv += ["--groups", ",".join(_groups(arguments))]
    if arguments["system"]:
        argv.append("--system")
    if arguments["create_home"]:
        argv.append("--create-home")
        if arguments["skeleton"] is not None:
            argv += ["--skel", arguments["skeleton"]]
        if arguments["umask"] is not None:
            argv += ["-K", f"UMASK={arguments['umask']}"]
        if arguments["home"] and not context.check:
            Path(arguments["home"]).parent.mkdir(parents=True, exist_ok=True)
    else:
        argv.append("--no-create-home")
    _execute([*argv, arguments["name"]], context)
    if not context.check:
        _set_password(arguments, context, created=True)


def _modification(
    arguments: dict[str, Any], account: pwd.struct_passwd, context: Context
) -> list[str]:
    """The options of usermod that are needed, none when all is as it should be."""
    _require_groups(arguments, context)
    options: list[str] = []
    for name, option, current in (
        ("uid", "--uid", account.pw_uid),
        ("comment", "--comment", account.pw_gecos),
        ("shell", "--shell", account.pw_shell),
        ("home", "--home", account.pw_dir),
    ):
        if arguments[name] is not None and arguments[name] != current:
            options += [option, str(arguments[name])]
            if name == "home" and arguments["move_home"]:
                options.append("--move-home")
            if name == "uid" and arguments["non_unique"]:
                options.append("--non-unique")
    if arguments["group"]:
        primary = groups_of_host.find(arguments["group"])
        if primary is None or primary.gr_gid != account.pw_gid:
            options += ["--gid", arguments["group"]]
    return options + _membership(arguments, account) + _expiry(arguments)


def _membership(arguments: dict[str, Any], account: pwd.struct_passwd) -> list[str]:
    if arguments["groups"] is None:
        return []
    found = {name: groups_of_host.find(name) for name in _groups(arguments)}
    wanted = {group.gr_name if group else name for name, group in found.items()}
    current = {group.gr_name for group in grp.getgrall() if account.pw_name in group.gr_mem}
    if wanted <= current if arguments["append"] else wanted == current:
        return []
    append = ["--append"] if arguments["append"] else []
    return [*append, "--groups", ",".join(sorted(wanted))]


def _date(moment: float) -> str:
    """The day on which an account expires; a moment before 1970 stands for never."""
    return time.strftime("%Y-%m-%d", time.gmtime(moment)) if moment >= 0 else ""


def _expiry(arguments: dict[str, Any]) -> list[str]:
    if arguments["expires"] is None:
        return []
    days = int(_shadow(arguments["name"], EXPIRES) or -1)
    wanted = _date(arguments["expires"])
    return ["--expiredate", wanted] if wanted != _date(days * 86400) else []


def _set_ages(arguments: dict[str, Any], context: Context) -> bool:
    argv = ["chage"]
    for name, (field, option) in AGES.items():
        wanted = arguments[name]
        if wanted is not None and wanted != int(_shadow(arguments["name"], field) or -1):
            argv += [option, str(wanted)]
    if len(argv) > 1:
        _execute([*argv, arguments["name"]], context)
    return len(argv) > 1


def _set_password(arguments: dict[str, Any], context: Context, created: bool = False) -> bool:
    """Give the account its password's hash, by stdin: an argument can be seen by everyone."""
    name, wanted, lock = arguments["name"], arguments["password"], arguments["password_lock"]
    if not created and arguments["update_password"] == "on_create":  # noqa: S105 — a choice
        wanted = None
    if wanted is None and lock is None:
        return False
    current = _shadow(name, 1)
    new = current.lstrip("!") if wanted is None else wanted.lstrip("!")
    locked = lock if lock is not None else (wanted or "").startswith("!")
    if wanted is not None and lock is None and new == current.lstrip("!"):
        return False  # as Ansible: whether it is locked is password_lock's business
    new = f"!{new}" if locked else new
    if new == current or not new:  # no hash at all would let everyone in
        return False
    _execute(["chpasswd", "--encrypted"], context, stdin=f"{name}:{new}\n".encode())
    return True


def _shadow(name: str, field: int) -> str:
    """A field of the account's line in /etc/shadow."""
    try:
        for line in Path("/etc/shadow").read_text("utf-8", "replace").splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return fields[field]
    except OSError as error:
        raise ModuleFailed(f"cannot read /etc/shadow: {error.strerror}") from None
    return ""


def _see_to_home(account: pwd.struct_passwd, arguments: dict[str, Any], context: Context) -> bool:
    home = Path(account.pw_dir)
    if not arguments["create_home"] or home.exists():
        return False
    if context.check:
        return True
    skeleton = Path(arguments["skeleton"] or "/etc/skel")
    home.parent.mkdir(parents=True, exist_ok=True)
    if skeleton.is_dir():
        shutil.copytree(skeleton, home, symlinks=True)
    else:
        home.mkdir()
    home.chmod(_home_mode())
    for path in (home, *home.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return True


def _home_mode() -> int:
    """The mode of a new home, as useradd has it."""
    try:
        text = LOGIN_DEFS.read_text()
    except OSError:
        return 0o755
    modes = dict(re.findall(r"^(HOME_MODE|UMASK)\s+(\d+)$", text, re.MULTILINE))
    if "HOME_MODE" in modes:
        return int(modes["HOME_MODE"], 8)
    return 0o777 & ~int(modes.get("UMASK", "022"), 8)


def _see_to_key(
    account: pwd.struct_passwd, arguments: dict[str, Any], result: Result, context: Context
) -> None:
    """Make the account's SSH key; one that is there stays, unless `force` says otherwise."""
    name = arguments["ssh_key_file"] or f".ssh/id_{arguments['ssh_key_type']}"
    key = Path(account.pw_dir) / name
    public = Path(f"{key}.pub")
    if not (key.is_absolute() or context.check or os.path.exists(account.pw_dir)):
        raise ModuleFailed(f"User {account.pw_name} home directory does not exist")
    there = [path for path in (key, public) if path.exists()]
    if arguments["force"] or not there:
        result["changed"] = True
        if not context.check:
            _make_key(key, public, account, arguments)
    else:
        result["warnings"] = [f'Found existing ssh key file "{there[0]}", no force, so skipping it']
    said = process.run(["ssh-keygen", "-l", "-f", str(key)], timeout=TIMEOUT)
    result["ssh_fingerprint"] = said.stdout.strip() if said.rc == 0 else ""
    result["ssh_key_file"] = str(key)
    result["ssh_public_key"] = public.read_text().strip() if public.exists() else None


def _make_key(
    key: Path, public: Path, account: pwd.struct_passwd, arguments: dict[str, Any]
) -> None:
    if not key.parent.exists():
        key.parent.mkdir(mode=0o700)
        os.chown(key.parent, account.pw_uid, account.pw_gid)
    for path in (key, public):
        path.unlink(missing_ok=True)
    comment = arguments["ssh_key_comment"]
    if comment is None:
        comment = f"ansible-generated on {socket.gethostname()}"
    argv = ["ssh-keygen", "-t", arguments["ssh_key_type"], "-C", comment, "-f", str(key)]
    if arguments["ssh_key_bits"] > 0:
        argv += ["-b", str(arguments["ssh_key_bits"])]
    passphrase = arguments["ssh_key_passphrase"]
    if passphrase is None:
        outcome = process.run([*argv, "-N", ""], timeout=TIMEOUT)
    else:
        outcome = _ask_for(passphrase, argv)
    if outcome.rc != 0:
        raise ModuleFailed(outcome.said, name=account.pw_name, rc=outcome.rc)
    for path in (key, public):
        os.chown(path, account.pw_uid, account.pw_gid)


def _ask_for(passphrase: str, argv: list[str]) -> process.Outcome:
    """Have the key's maker ask for its passphrase: an argument can be seen by everyone."""
    with tempfile.TemporaryDirectory(prefix="b9prov-") as folder:
        helper = Path(folder, "askpass")
        helper.write_text("#!/bin/sh\nprintf '%s\\n' \"$B9_PASSPHRASE\"\n")
        helper.chmod(0o700)
        environment = {"SSH_ASKPASS": str(helper), "SSH_ASKPASS_REQUIRE": "force", "DISPLAY": ":0"}
        environment["B9_PASSPHRASE"] = passphrase
        return process.run(argv, timeout=TIMEOUT, env=environment)
