"""An account of this host. Ansible's `user`: name, uid, group, groups, append, home, shell…"""

from __future__ import annotations

import grp
import os
import pwd
import shutil
from pathlib import Path
from typing import Any

from provisioner.remote import process
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
    "force": Argument("bool", default=False),
    "remove": Argument("bool", default=False),
}
TIMEOUT = 300


def run(arguments: dict[str, Any], context: Context) -> Result:
    """Make, change or remove the account."""
    name = arguments["name"]
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
        if arguments["update_password"] == "always":
            result["changed"] |= _set_password(arguments, context)
        result.update(append=arguments["append"], move_home=arguments["move_home"])
    account = _find(name)
    if account:
        result["changed"] |= _see_to_home(account, arguments, context)
        result.update(uid=account.pw_uid, group=account.pw_gid, comment=account.pw_gecos)
        result.update(home=account.pw_dir, shell=account.pw_shell)
        if arguments["groups"] is not None:
            result["groups"] = ",".join(_groups(arguments))
    if arguments["password"] is not None:
        result["password"] = "NOT_LOGGING_PASSWORD"
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
    if not arguments["group"] and groups_of_host.find(arguments["name"]):
        # useradd would want to make a group of this name
        argv += ["--gid", arguments["name"]]
    if _groups(arguments):
        argv += ["--groups", ",".join(_groups(arguments))]
    if arguments["system"]:
        argv.append("--system")
    if arguments["create_home"]:
        argv.append("--create-home")
        if arguments["skeleton"] is not None:
            argv += ["--skel", arguments["skeleton"]]
        if arguments["home"] and not context.check:
            Path(arguments["home"]).parent.mkdir(parents=True, exist_ok=True)
    else:
        argv.append("--no-create-home")
    _execute([*argv, arguments["name"]], context)
    if not context.check:
        _set_password(arguments, context)


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
    return options + _membership(arguments, account)


def _membership(arguments: dict[str, Any], account: pwd.struct_passwd) -> list[str]:
    if arguments["groups"] is None:
        return []
    wanted = set(_groups(arguments))
    current = {g.gr_name for g in grp.getgrall() if account.pw_name in g.gr_mem}
    primary = {g.gr_name for g in grp.getgrall() if g.gr_gid == account.pw_gid}
    if arguments["append"]:
        missing = sorted(wanted - current - primary)
        return ["--append", "--groups", ",".join(missing)] if missing else []
    if wanted - primary == current - primary:
        return []
    return ["--groups", ",".join(sorted(wanted))]


def _set_password(arguments: dict[str, Any], context: Context) -> bool:
    """Give the account its password's hash, by stdin: an argument can be seen by everyone."""
    name, wanted, lock = arguments["name"], arguments["password"], arguments["password_lock"]
    if wanted is None and lock is None:
        return False
    current = _hash(name)
    new = current.lstrip("!") if wanted is None else wanted.lstrip("!")
    locked = lock if lock is not None else (wanted or "").startswith("!")
    if wanted is not None and lock is None and new == current.lstrip("!"):
        return False  # as Ansible: whether it is locked is password_lock's business
    new = f"!{new}" if locked else new
    if new == current or not new:  # no hash at all would let everyone in
        return False
    _execute(["chpasswd", "--encrypted"], context, stdin=f"{name}:{new}\n".encode())
    return True


def _hash(name: str) -> str:
    try:
        for line in Path("/etc/shadow").read_text("utf-8", "replace").splitlines():
            fields = line.split(":")
            if fields[0] == name:
                return fields[1]
    except OSError as error:
        raise ModuleFailed(f"cannot read the password's hash: {error.strerror}") from None
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
    home.chmod(0o755)
    for path in (home, *home.rglob("*")):
        os.chown(path, account.pw_uid, account.pw_gid, follow_symlinks=False)
    return True
